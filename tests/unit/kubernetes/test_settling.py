"""When a run is settled."""

import time
from typing import Any

import pytest

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes import failures
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.record import MOST_PASSING, record_of
from blocks.cluster.kubernetes.settling import Settling, _Followed
from blocks.cluster.kubernetes.view import RECORDS
from blocks.domain.errors import ClusterUnavailableError
from tests.unit.kubernetes.memory import MemoryApi, launched
from tests.unit.kubernetes.plans import make_plan
from tests.unit.kubernetes.test_record import checkpoint, usage


class Run:
    """A run whose Job is there, and what settles it."""

    def __init__(self) -> None:
        self.api: Any = MemoryApi()
        self.view, self.name = launched(self.api, make_plan())
        self.settling = Settling(self.api, self.view, lambda *_: None)
        self.since = time.monotonic()
        self.settling._followed.append(_Followed(Selector(run_id="training-7"), self.since))
        self.sidecar = (self.api.get(RECORDS, self.name)["metadata"]["uid"], 1, 0)

    def tell(self, frame: dict[str, Any], age: float = 0.0) -> None:
        self.settling.tell(self.name, self.sidecar, frame, self.since + 1 - age)

    def events(self) -> list[str]:
        """The kinds of what is written down."""
        return [event.kind for event in record_of(self.api.get(RECORDS, self.name)).events]


@pytest.fixture
def run():
    return Run()


@pytest.mark.parametrize("frame", [checkpoint(2, "\udcff.pt"), checkpoint(2, "p" * 2_000_000), {"kind": "usage"}])
def test_a_hostile_line_among_events_keeps_no_run_from_being_settled(run, frame):
    for each in (usage(1), frame, usage(3)):
        run.tell(each)
    run.settling.settle(run.name)
    assert run.events() == ["usage", "usage"]


def test_events_are_kept_while_the_api_server_is_away(run):
    run.tell(usage(1))
    run.api.failure = ClusterUnavailableError("it restarts")
    with pytest.raises(ClusterUnavailableError):
        run.settling.settle(run.name)
    run.api.failure = None
    run.tell(usage(2))
    run.settling.settle(run.name)
    assert run.events() == ["usage", "usage"]


def test_events_that_the_api_server_takes_at_no_time_are_dropped(run):
    run.tell(usage(1))
    run.api.failure = ApiError(422, "Invalid", "data: Too long")
    with pytest.raises(ApiError):
        run.settling.settle(run.name)
    run.api.failure = None
    run.tell(usage(2))
    run.settling.settle(run.name)
    assert run.events() == ["usage"]


def test_a_log_that_was_opened_before_anybody_followed_leaves_no_gap(run):
    run.tell(usage(2), age=2)  # number 1 was told when nobody listened
    run.settling.settle(run.name)
    assert run.events() == []
    for number in (1, 2):  # by the log that is opened by who follows
        run.tell(usage(number))
    run.settling.settle(run.name)
    assert run.events() == ["usage", "usage"]


def test_no_more_events_are_waiting_than_a_record_keeps(run):
    for number in range(1, 2 * MOST_PASSING):
        run.tell(usage(number))
    run.settling.settle(run.name)
    record = record_of(run.api.get(RECORDS, run.name))
    assert len(record.events) == MOST_PASSING
    assert record.frames == {"1/0": 2 * MOST_PASSING - 1}


def test_what_is_to_be_looked_at_much_later_is_settled_soon_when_there_is_news():
    run = Run()
    run.settling._settle_by(run.name, time.monotonic() + 1000)  # as for places that are given back by then
    run.tell(usage(1))
    assert run.settling._patience() < 1
    run.settling._settle_by(run.name, 0.0)
    assert run.settling._due() == {run.name}


def test_nothing_is_kept_of_runs_that_nobody_follows(run):
    run.settling._followed.clear()
    for number in range(1, 100):
        run.settling.tell(f"mf-{number}", run.sidecar, usage(number), time.monotonic())
        run.tell(usage(number))
        run.settling.settle(f"mf-{number}")
    assert (len(run.settling._frames), len(run.settling._locks), len(run.settling._again)) == (0, 0, 0)


def test_what_is_waiting_of_a_run_is_forgotten_when_nobody_follows_it_any_more(run):
    run.tell(usage(1))
    run.settling._followed.clear()
    run.settling._settle_safely(run.name)
    assert run.settling._frames == {}


def test_one_that_follows_a_run_parses_no_record_of_the_others(run, monkeypatch):
    others = launched(run.api, make_plan(run_id="another"), view=run.view)[1]
    monkeypatch.setattr(run.view, "read", lambda name: pytest.fail(f"{name} was read"))
    assert run.settling._is_followed(run.name)
    run.settling._settle_safely(others)


def test_a_fault_of_ours_is_no_hang(run, monkeypatch):
    monkeypatch.setattr(failures, "LASTING_SECONDS", 0.0)
    monkeypatch.setattr(run.settling, "settle", lambda _: {}["reason"])
    run.settling._settle_safely(run.name)
    with pytest.raises(ClusterUnavailableError, match="unexpected KeyError: 'reason'"):
        run.settling.check(Selector(run_id="training-7"))


def test_what_can_not_be_done_for_a_run_for_long_is_said_to_who_follows_it(run, monkeypatch):
    monkeypatch.setattr(failures, "LASTING_SECONDS", 0.0)
    run.tell(usage(1))
    run.api.failure = ApiError(403, "Forbidden", "cannot update")
    run.settling._settle_safely(run.name)
    run.settling.check(Selector(run_id="another"))
    with pytest.raises(ClusterUnavailableError, match="cannot update"):
        run.settling.check(Selector(run_id="training-7"))
    run.api.failure = None
    run.settling._settle_safely(run.name)
    run.settling.check(Selector())
