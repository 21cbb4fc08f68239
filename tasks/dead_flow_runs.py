"""Flow runs whose process is gone: the workflow UI and the journal are told, so that the page is true and Retry works.

Known are they by their entry in the registry and the lease that went with the process. On the server of this home also
those count that were killed before they came to write an entry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Cancelled, Crashed

from blocks.connections.settings import Settings, own_api
from blocks.registry.database import Registry
from blocks.registry.records import FlowRunRecord
from tasks.liveness import ASKED_TO_END, lease_of
from tasks.triggering import DEPLOYMENT

DIED = "Its process is gone: it was killed, or its machine went down."
ENDED = "Its process was asked to end before it was done."
GOES_ON = "It was cancelled, and what it was about goes on."
STARTING = timedelta(minutes=5)
"""So long a flow run's process may take to start."""

STARTED_AGAIN = "Its process did not come to begin; it is started again."
MOST_STARTS = 3
"""So often upkeep starts a flow run again whose process does not come to begin."""

NEVER_BEGAN = (
    f"Its process did not come to begin, though it was started again {MOST_STARTS} times. logs/flow-runs.log below "
    "MAKERFLOW_HOME and `makerflow doctor` may say why; Retry starts it again."
)

PAGE = 200

_OPEN = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


@dataclass(frozen=True)
class DeadRun:
    """A flow run that a server sees and whose process is gone.

    Attributes:
        run: None when the server does not know it.
        was_asked_to_end: Whether a signal asked it to end, as `makerflow down` does, and it did so.
    """

    id: str
    run: FlowRun | None
    was_asked_to_end: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return self.run.name if self.run is not None else self.id

    @property
    def found(self) -> str:
        """What became of it, for people."""
        return ENDED if self.was_asked_to_end else DIED

    @property
    def is_open(self) -> bool:
        """Whether the server takes it for alive."""
        return self._type in _OPEN

    @property
    def never_began(self) -> bool:
        """Whether a deployment asked for it and its process did not come to begin."""
        return self._type is StateType.PENDING and self.run is not None and self.run.deployment_id is not None

    @property
    def is_crashed(self) -> bool:
        """Whether the server knows that it ended too early: what it followed goes on, and nobody follows it."""
        return self._type is StateType.CRASHED

    @property
    def is_cancelled(self) -> bool:
        """Whether the server takes it for cancelled, which it also does when ending what it was about has failed."""
        return self._type is StateType.CANCELLED

    @property
    def is_cancelling(self) -> bool:
        """Whether somebody cancelled it, and nobody was there to do so."""
        return self._type is StateType.CANCELLING

    @property
    def _type(self) -> StateType | None:
        return self.run.state.type if self.run is not None and self.run.state is not None else None


def dead_entries(registry: Registry, *, seen: bool) -> list[FlowRunRecord]:
    """The entries of runs that began, and neither ended nor live; of those that a server sees, or of the others."""
    unended = [run.record for run in registry.flow_runs.unended() if run.is_seen is seen]
    alive = registry.leased([lease_of(record.id) for record in unended])
    gone = [record for record in unended if lease_of(record.id) not in alive]
    # Who ends gives up its entry before its lease: what is still there now was not ended by anybody.
    still = {run.record.id for run in registry.flow_runs.unended()} if gone else set()
    return [record for record in gone if record.id in still]


def close_entry(registry: Registry, record: FlowRunRecord) -> None:
    """End the entry of a run that no server saw, so that it can be exported."""
    registry.flow_runs.record(
        record.model_copy(update={"state": "CRASHED", "message": DIED, "ended": datetime.now(UTC)})
    )


def dead_runs(client: SyncPrefectClient, api: str, settings: Settings, registry: Registry) -> Iterator[DeadRun]:
    """The runs that this server sees and whose process is gone."""
    noted = {record.id: record.state == ASKED_TO_END for record in dead_entries(registry, seen=True)}
    for start in range(0, len(noted), PAGE):
        ids = list(noted)[start : start + PAGE]
        filter = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(id) for id in ids]))
        known = {str(run.id): run for run in client.read_flow_runs(flow_run_filter=filter, limit=PAGE)}
        yield from (DeadRun(id, known.get(id), noted[id]) for id in ids)
    if api == own_api(settings):  # where nobody else's flow runs are
        yield from (DeadRun(str(run.id), run) for run in _silent(client, registry, set(noted)))


def close_run(client: SyncPrefectClient, dead: DeadRun) -> str:
    """Tell the server; what it was told. A run of a deployment that never began is begun again, a few times."""
    assert dead.run is not None  # noqa: S101 - for the type checker: one that is open has a run
    state: State[Any]
    if dead.never_began and _starts(client, dead.run.id) < MOST_STARTS:
        state, told = AwaitingRetry(message=STARTED_AGAIN), "started again"
    elif dead.never_began:
        state, told = Crashed(message=NEVER_BEGAN), f"set CRASHED: it was started again {MOST_STARTS} times"
    elif dead.is_cancelling:
        state, told = Cancelled(message=dead.found), "set CANCELLED"
    else:
        state, told = Crashed(message=dead.found), "set CRASHED"
    client.set_flow_run_state(dead.run.id, state, force=True)
    return told


def _starts(client: SyncPrefectClient, flow_run_id: UUID) -> int:
    """How often upkeep has started it again since it was last asked for: its history on the server tells."""
    states = sorted(client.read_flow_run_states(flow_run_id), key=lambda state: state.timestamp, reverse=True)
    since = takewhile(lambda state: not state.is_final(), states)
    return sum(state.message == STARTED_AGAIN for state in since)


def _silent(client: SyncPrefectClient, registry: Registry, noted: set[str]) -> list[FlowRun]:
    """Runs of our deployments that have neither entry nor lease though they should have begun long ago."""
    filter = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[DEPLOYMENT]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_OPEN))),
    )
    long_ago = datetime.now(UTC) - STARTING
    runs = [
        run
        for run in all_runs(client, filter)
        if run.state is not None and run.state.timestamp < long_ago and str(run.id) not in noted
    ]
    alive = registry.leased([lease_of(str(run.id)) for run in runs])
    return [run for run in runs if lease_of(str(run.id)) not in alive]


def all_runs(client: SyncPrefectClient, filter: FlowRunFilter) -> Iterator[FlowRun]:
    """What a filter lets through, however many pages it takes."""
    offset = 0
    while page := client.read_flow_runs(flow_run_filter=filter, limit=PAGE, offset=offset):
        yield from page
        offset += PAGE
