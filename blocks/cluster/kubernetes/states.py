"""What can be said of a run: from its record, and its objects as they are now. Pure."""

from datetime import datetime

from blocks.cluster.base import Trace
from blocks.cluster.kubernetes.exits import is_over
from blocks.cluster.kubernetes.names import Object, labels_of, run_id_of
from blocks.cluster.kubernetes.progress import phase_of
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.view import Seen
from blocks.domain.plan import RunHandle, RunPhase, RunState

CLUSTER = "kubernetes"
"""The name of this cluster in handles."""


def state_of(record: RunRecord, seen: Seen) -> RunState:
    """Where a run stands."""
    phase, detail = phase_of(record, seen)
    return RunState(
        handle=RunHandle(cluster=CLUSTER, run_id=record.run_id),
        labels=record.labels,
        phase=phase,
        is_stopping=record.stop is not None,
        attempt=record.attempt if phase in (RunPhase.RUNNING, RunPhase.FINISHED) else record.attempt - 1,
        processes=alive(seen),
        detail=detail,
    )


def unreadable_state(seen: Seen, why: str) -> RunState:
    """Of a run whose record cannot be read: nobody is to take it for one that is gone, or over."""
    object = seen.record or {"metadata": {}}
    handle = RunHandle(cluster=CLUSTER, run_id=run_id_of(object))
    labels = labels_of(object)
    return RunState(handle=handle, labels=labels, phase=RunPhase.RUNNING, processes=alive(seen), detail=why)


def trace_of(record: RunRecord | None, seen: Seen) -> Trace | None:
    """What there is of a run, also without a record, or with one that cannot be read."""
    if seen.record is None:
        left = [each for each in (*seen.jobs, *seen.pods) if "deletionTimestamp" not in each["metadata"]]
        return Trace(run_id_of(left[0]), None, alive(seen), made(left[0])) if left else None
    changed = record.events[-1].at if record and record.events else made(seen.record)
    phase = phase_of(record, seen)[0] if record else RunPhase.RUNNING
    return Trace(run_id_of(seen.record), phase, alive(seen), changed, labels_of(seen.record))


def alive(seen: Seen) -> int:
    """How many pods live."""
    return sum(not is_over(pod) and bool(pod["spec"].get("nodeName")) for pod in seen.pods)


def made(object: Object) -> datetime:
    """When an object was made."""
    return datetime.fromisoformat(object["metadata"]["creationTimestamp"])
