"""How often a schedule may start a flow run."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import AwaitingRetry, Scheduled

from deployments.runner import DeploymentRunner
from deployments.scheduled_runs import Pace

pytestmark = pytest.mark.req("COM-04", "TRN-14")

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SCHEDULE = uuid4()


HOUR = 3600


def planned(seconds: float, schedule: UUID = SCHEDULE, *, retried: bool = False) -> FlowRun:
    """A flow run of a schedule so long after noon."""
    state: State[Any] = AwaitingRetry() if retried else Scheduled()
    return FlowRun(
        flow_id=uuid4(),
        auto_scheduled=True,
        created_by={"id": schedule, "type": "SCHEDULE"},
        expected_start_time=NOON + timedelta(seconds=seconds),
        next_scheduled_start_time=NOON + timedelta(seconds=seconds),
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


def test_of_what_was_missed_only_each_schedules_newest_is_made_up_for() -> None:
    nights, other = [planned(-night * 24 * HOUR) for night in (3, 1, 2)], planned(-5 * HOUR, uuid4())
    assert Pace().outdated([*nights, other], NOON) == [nights[0], nights[2]]


def test_what_has_just_become_due_was_not_missed() -> None:
    runs = [planned(-HOUR), planned(-121), planned(-120), planned(-60), planned(0), planned(5)]
    assert Pace().outdated(runs, NOON) == [runs[0]]


def test_persons_and_retries_and_what_is_being_started_are_never_outdated() -> None:
    pace, started = Pace(), planned(-3 * HOUR)
    asked_for = planned(-4 * HOUR).model_copy(update={"auto_scheduled": False})
    assert pace.lets(started)
    assert pace.outdated([asked_for, planned(-2 * HOUR, retried=True), started, planned(-HOUR)], NOON) == []


def test_of_more_missed_flow_runs_than_a_runner_is_told_of_at_once_the_newest_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datetime.now(UTC) - NOON - timedelta(hours=12)
    waiting = {run.id: run for run in (planned(first.total_seconds() + minute * 60) for minute in range(450))}
    newest, runner = list(waiting.values())[-1], DeploymentRunner(tmp_path / "log", tmp_path / "pulse")

    async def told() -> list[FlowRun]:
        return list(waiting.values())[:200]

    class Client:
        async def delete_flow_run(self, id: UUID) -> None:
            del waiting[id]

    monkeypatch.setattr(runner, "_asked_for", told, raising=False)
    monkeypatch.setattr(runner, "_client", Client(), raising=False)
    assert asyncio.run(runner._to_be_started()) == list(waiting.values()) == [newest]


def test_a_server_that_fails_for_a_while_ends_neither_the_runner_nor_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = DeploymentRunner(tmp_path / "log", tmp_path / "pulse")
    request = httpx.Request("POST", "http://127.0.0.1:4200/api/deployments/get_scheduled_flow_runs")
    broken = PrefectHTTPStatusError("500", request=request, response=httpx.Response(500, request=request))
    answers: list[Exception | list[FlowRun]] = [broken, httpx.ConnectError("refused"), broken, [asked := planned(0)]]

    async def told() -> list[FlowRun]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(runner, "_asked_for", told, raising=False)
    assert [asyncio.run(runner._to_be_started()) for _ in range(4)] == [[], [], [], [asked]]
