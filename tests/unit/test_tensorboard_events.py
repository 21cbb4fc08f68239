"""What workers write for TensorBoard is brought by one copy at a time, and only what is new."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedObject, PlannedOutput, Uploaded
from blocks.storage import transfer
from tasks import tensorboard_events
from tasks.tensorboard_events import EventsCopy
from tests.unit.kubernetes.plans import make_plan
from tests.waiting import wait_until

PLACE = "obs://store.example/b/events"
PLAN = make_plan(outputs=(PlannedOutput(kind="tensorboard", path=PLACE),))


class Store:
    """A platform with a store of sizes and ETags, from which copies are made that take as long as they are to."""

    def __init__(self) -> None:
        self.there = {f"{PLACE}/old": (5, "1"), f"{PLACE}/live": (1, "1"), f"{PLACE}/worker-1/live": (2, "1")}
        self.copied: list[str] = []
        self.most = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._under_way = 0

    def storage(self, _: StoragePath) -> "Store":
        return self

    def plan(self, path: StoragePath) -> list[PlannedObject]:
        return [
            PlannedObject(key=name.removeprefix(f"{path}/"), path=name, size=size, etag=etag)
            for name, (size, etag) in self.there.items()
            if name.startswith(f"{path}/")
        ]

    def copy(self, source: StoragePath, target: StoragePath, *_: object, **__: object) -> None:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        time.sleep(0.02)
        self.goes_on.wait(20)
        self._under_way -= 1
        self.copied.append(str(target).removeprefix("file:///shown/"))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(transfer, "copy", made.copy)
    return made


def copy_of(store: Store) -> EventsCopy:
    platform: Any = store
    return EventsCopy(platform, Path("/shown"))


def uploaded(place: str = PLACE) -> Uploaded:
    event = {"output": "tensorboard", "path": place, "files": 1, "bytes": 1, "run_id": "r", "sequence": 1}
    return Uploaded.model_validate({**event, "at": "2030-01-01T00:00:00Z"})


def test_only_what_has_changed_is_fetched_again(store: Store) -> None:
    copy = copy_of(store)
    copy.bring(uploaded())
    assert store.copied == ["live", "worker-1/live", "old"]
    store.there[f"{PLACE}/live"] = (2, "2")
    copy.bring(uploaded())
    copy.bring(uploaded(f"{PLACE}/worker-1"))
    assert store.copied[3:] == ["live"]


def test_of_one_training_no_more_is_copied_than_it_may_take_and_that_is_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tensorboard_events, "MOST_BYTES", 7)
    copy = copy_of(store)
    with caplog.at_level(logging.WARNING, "makerflow"):
        copy.bring(uploaded())
        copy.bring(uploaded())
    assert store.copied == ["live", "worker-1/live"]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "TensorBoard shows only a part of what was written to obs"
    ]


def test_of_two_copies_of_a_run_the_later_one_waits(store: Store) -> None:
    copy = copy_of(store)
    places = (PLACE, f"{PLACE}/worker-1")
    threads = [threading.Thread(target=copy.bring, args=(uploaded(place),)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert store.most == 1


def test_what_is_uploaded_behind_a_slow_copy_waits_for_it_a_while_and_is_brought_at_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_events, "BRING_SECONDS", 0.1)
    copy = copy_of(store)
    store.goes_on.clear()
    with copy.meanwhile(PLAN):
        wait_until(lambda: store.most == 1, "the copy to begin", 10)
        store.there[f"{PLACE}/last"] = (9, "1")
        began = time.monotonic()
        copy.bring(uploaded())
        assert time.monotonic() - began < 5
        store.goes_on.set()
    assert store.copied == ["live", "worker-1/live", "old", "last"]
