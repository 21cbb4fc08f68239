"""What the command line shows of a training that runs."""

import io
import threading
import time
from collections.abc import Callable

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.registry.records import Training
from deployments.cli.observing import TrainingObserver
from deployments.cli.progress import PlainDisplay
from flows.training import create_training
from tasks.following import Follower
from tests.integration.flows.conftest import MakeSpec
from tests.waiting import wait_until

PRINTS = "for number in range(5):\n    print(f'loss={number}', flush=True)\n"


class LateObserver(TrainingObserver):
    """One whose first look comes when it is told to."""

    def __init__(self, find: Callable[[], Training | None], stream: io.StringIO) -> None:
        super().__init__(find, PlainDisplay(stream, with_output=True))
        self.may_look = threading.Event()

    def show(self) -> None:
        assert self.may_look.wait(60)
        super().show()


def current() -> Training:
    return open_platform().registry.trainings.get("t")


def current_or_none() -> Training | None:
    try:
        return current()
    except NotFoundError:
        return None


def output_of(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().splitlines() if line.startswith("loss=")]


def test_all_that_a_training_printed_is_shown_also_when_its_flow_was_there_first(make_spec: MakeSpec) -> None:
    shown = io.StringIO()
    with LateObserver(current, shown) as observer:
        create_training(make_spec(PRINTS))
        observer.may_look.set()
    assert output_of(shown) == [f"loss={number}" for number in range(5)]


def test_of_a_training_that_is_gone_on_with_only_what_is_new_is_shown(make_spec: MakeSpec) -> None:
    create_training(make_spec(PRINTS))
    followed = current().model_copy(update={"log_cursors": {0: len("loss=0\nloss=1\n")}})
    known, shown = [followed], io.StringIO()
    with LateObserver(lambda: known[0], shown) as observer:
        known[0] = current()  # its flow has read the rest meanwhile
        observer.may_look.set()
    assert output_of(shown) == ["loss=2", "loss=3", "loss=4"]
    assert "COMPLETE" in shown.getvalue()


def test_that_it_runs_is_told_before_how_its_workers_ended(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, stream = Follower._running, io.StringIO()

    def move_later(follower: Follower) -> None:
        wait_until(lambda: "environment ready" in stream.getvalue(), "the display to be ahead of who follows")
        time.sleep(0.5)  # for which the display has to wait
        move(follower)

    monkeypatch.setattr(Follower, "_running", move_later)
    with TrainingObserver(current_or_none, PlainDisplay(stream, with_output=False)):
        create_training(make_spec(PRINTS))
    shown = stream.getvalue()
    assert -1 < shown.find("[t] RUNNING: 1 worker started") < shown.find("worker 0 ended: ok")


def test_why_it_waits_is_told_once_by_its_events(make_spec: MakeSpec) -> None:
    create_training(make_spec(PRINTS))
    unlaunched = current().model_copy(update={"handle": None})
    rows = [unlaunched, unlaunched, current().model_copy(update={"reason": "2 of 2 are used"})]
    stream = io.StringIO()
    display = PlainDisplay(stream, with_output=False)
    with TrainingObserver(lambda: rows.pop(0) if len(rows) > 1 else rows[0], display):
        pass
    assert "2 of 2 are used" not in stream.getvalue()
