"""How often a schedule may start a flow run."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Scheduled

from deployments.scheduled_runs import Pace

pytestmark = pytest.mark.req("COM-04", "TRN-14")

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SCHEDULE = uuid4()


def planned(seconds: float, schedule: UUID = SCHEDULE, *, retried: bool = False) -> FlowRun:
    """A flow run of a schedule so long after noon."""
    state: State[Any] = AwaitingRetry() if retried else Scheduled()
    return FlowRun(
        flow_id=uuid4(),
        auto_scheduled=True,
        created_by={"id": schedule, "type": "SCHEDULE"},
        expected_start_time=NOON + timedelta(seconds=seconds),
        state=state,
        state_name=state.name,
    )


def test_of_each_minute_the_first_flow_run_of_a_schedule_is_let_through() -> None:
    pace = Pace()
    assert [second for second in range(180) if pace.lets(planned(second))] == [0, 60, 120]


def test_a_flow_run_that_was_let_through_may_start_also_when_it_is_asked_for_again() -> None:
    pace, runs = Pace(), [planned(59), planned(60)]
    assert [pace.lets(run) for run in [*runs, *runs]] == [True] * 4


def test_a_flow_run_that_is_planned_once_more_after_it_was_dropped_is_dropped_again() -> None:
    pace = Pace()
    assert [pace.lets(planned(second)) for second in (0, 58, 60, 58)] == [True, False, True, False]


def test_schedules_do_not_count_for_each_other_and_persons_and_retries_not_at_all() -> None:
    pace = Pace()
    asked_for = planned(1).model_copy(update={"auto_scheduled": False})
    runs = [planned(0), planned(1, uuid4()), asked_for, asked_for, planned(1, retried=True)]
    assert [pace.lets(run) for run in runs] == [True] * 5
