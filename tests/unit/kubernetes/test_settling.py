"""When a run is settled."""

import time
from typing import Any

import pytest

from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.record import MOST_PASSING
from blocks.cluster.kubernetes.settling import Settling
from blocks.cluster.kubernetes.view import RECORDS, record_of
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
        self.sidecar = (self.api.get(RECORDS, self.name)["metadata"]["uid"], 1, 0)

    def tell(self, frame: dict[str, Any]) -> None:
        self.settling.tell(self.name, self.sidecar, frame)

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


def test_no_more_events_are_waiting_than_a_record_keeps(run):
    for number in range(1, 2 * MOST_PASSING):
        run.tell(usage(number))
    run.settling.settle(run.name)
    record = record_of(run.api.get(RECORDS, run.name))
    assert len(record.events) == MOST_PASSING
    assert record.frames == {"1/0": 2 * MOST_PASSING - 1}


def test_what_is_to_be_looked_at_much_later_is_settled_soon_when_there_is_news():
    nobody: Any = None
    settling = Settling(nobody, nobody, nobody)
    settling._settle_by("mf-run", time.monotonic() + 1000)  # as for places that are given back by then
    settling.tell("mf-run", ("life", 1, 0), usage(1))
    assert settling._patience() < 1
    settling._settle_by("mf-run", 0.0)
    assert settling._due() == {"mf-run"}
