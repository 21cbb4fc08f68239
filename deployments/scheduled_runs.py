"""The flow runs that schedules ask for, before they begin."""

from datetime import UTC, datetime
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

from tasks.dead_flow_runs import all_runs

_BEFORE_IT_BEGINS = (StateType.SCHEDULED, StateType.PENDING)


def schedule_of(run: FlowRun) -> UUID | None:
    """The schedule that asked for it; None when a person or a program did."""
    return run.created_by.id if run.auto_scheduled and run.created_by else None


def due_runs(client: SyncPrefectClient, deployment: UUID, schedule: UUID) -> list[FlowRun]:
    """Those whose time has come, and which have not begun."""
    filter = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_BEFORE_IT_BEGINS))),
    )
    now = datetime.now(UTC)
    return [
        run
        for run in all_runs(client, filter)
        if schedule_of(run) == schedule and (run.next_scheduled_start_time or now) <= now
    ]


def drop(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Delete a flow run that has not begun: its process finds nothing to do. False when it has begun meanwhile."""
    try:
        if not _is_waiting(client.read_flow_run(run.id).state):
            return False
        client.delete_flow_run(run.id)
    except ObjectNotFound:  # the server deletes some of them with their schedule
        pass
    return True


def _is_waiting(state: State | None) -> bool:
    return state is not None and state.type in _BEFORE_IT_BEGINS
