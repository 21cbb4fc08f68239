"""The flow runs that schedules ask for, before they begin."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import tasks  # noqa: F401 - gives Prefect its home, before it is imported

# isort: split
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from tasks.dead_flow_runs import all_runs

MOST_MINUTES = 1000
"""Of so many minutes is known which flow run was let through; later than that, none is planned once more."""

MISSED = timedelta(minutes=2)
"""What has been due for longer was missed: nobody was there to start it."""

_BEFORE_IT_BEGINS = (StateType.SCHEDULED, StateType.PENDING)
_RETRIED = AwaitingRetry().name


def schedule_of(run: FlowRun) -> UUID | None:
    """The schedule that asked for it; None when a person or a program did."""
    return run.created_by.id if run.auto_scheduled and run.created_by else None


class Pace:
    """How many of the flow runs that schedules ask for may start.

    One of a schedule for each minute is let through: so often the command line lets a schedule fire at most.
    The dialog of the workflow UI takes an interval of a second, too. Every flow run is a process, which may last for
    days; and a runner is told of the 200 that are due longest, among which would be no others any more.
    """

    def __init__(self) -> None:
        self._let_through: dict[UUID, dict[datetime, UUID]] = {}

    def outdated(self, runs: Iterable[FlowRun], now: datetime) -> list[FlowRun]:
        """Those that were missed, but for each schedule's newest, which makes up for all: they have its parameters.

        The server plans ahead, so that after a night in which the platform was down they would all start at once.
        """
        missed: dict[UUID, list[FlowRun]] = {}
        for run in sorted(runs, key=lambda run: _due(run, now)):
            schedule = schedule_of(run)
            if schedule is None or run.state_name == _RETRIED or now - _due(run, now) <= MISSED:
                continue
            if run.id not in self._let_through.get(schedule, {}).values():  # the process of such a one is on its way
                missed.setdefault(schedule, []).append(run)
        return [run for some in missed.values() for run in some[:-1]]

    def lets(self, run: FlowRun) -> bool:
        """Whether it may start. The answer stays the same: the server may plan once more what was dropped early."""
        schedule, time = schedule_of(run), run.expected_start_time
        if schedule is None or time is None or run.state_name == _RETRIED:
            return True
        of_minutes = self._let_through.setdefault(schedule, {})
        first = of_minutes.setdefault(time.replace(second=0, microsecond=0), run.id)
        if len(of_minutes) > MOST_MINUTES:
            del of_minutes[next(iter(of_minutes))]
        return first == run.id


def due_runs(client: SyncPrefectClient, deployment: UUID, schedule: UUID) -> list[FlowRun]:
    """Those whose time has come, and which have not begun."""
    filter = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_BEFORE_IT_BEGINS))),
    )
    now = datetime.now(UTC)
    return [run for run in all_runs(client, filter) if schedule_of(run) == schedule and _due(run, now) <= now]


def plan_runs(client: SyncPrefectClient, deployment: UUID) -> None:
    """Have the next runs of its schedules planned now: it may take a minute else, and leave out what is due by then."""
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json={})


def drop(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Delete a flow run that has not begun: its process finds nothing to do. False when it has begun meanwhile."""
    try:
        if not _is_waiting(client.read_flow_run(run.id).state):
            return False
        client.delete_flow_run(run.id)
    except ObjectNotFound:  # the server deletes some of them with their schedule
        pass
    return True


def _due(run: FlowRun, now: datetime) -> datetime:
    """When its time came or comes; now for one that is about to begin."""
    return run.next_scheduled_start_time or now


def _is_waiting(state: State | None) -> bool:
    return state is not None and state.type in _BEFORE_IT_BEGINS
