"""What there is on the cluster of runs that nobody needs any more."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.cluster.base import Cluster, Trace
from blocks.domain.plan import RunPhase
from blocks.registry.database import Registry
from blocks.registry.records import Standing

REGISTRY = "registry"
"""The label of a run that holds the id of the registry which it belongs to."""

REMEDY_OF_STRANGE_RUNS = (
    "It is left alone. Set MAKERFLOW_REGISTRY_URL to the registry that it belongs to, and stop or delete its training "
    "there; where that registry is no more, {removal}."
)


@dataclass(frozen=True)
class LeftRun:
    """A run of no training, or of one that is over.

    Attributes:
        training: None when there is no such training.
        is_removable: Whether its records may go as well: its outputs are at their places, or its keep time is over.
        is_strange: Whether it belongs to another registry, or may do so: then nobody but that registry ends it.
    """

    trace: Trace
    training: Standing | None
    is_removable: bool
    is_strange: bool

    @property
    def lives(self) -> bool:
        """Whether it has to be ended."""
        return bool(self.trace.processes) or self.trace.phase not in (None, RunPhase.FINISHED)

    @property
    def whose(self) -> str:
        """For messages."""
        if self.is_strange:
            owner = self.trace.labels.get(REGISTRY)
            return f"another registry, {owner}" if owner else "no training that is known, and names no registry"
        if self.training is None:
            return "no training that is known"
        return f"the training {self.training.name}, which is {self.training.status.value}"


def left_runs(cluster: Cluster, registry: Registry, now: datetime, keep: timedelta) -> list[LeftRun]:
    """The runs that have to be ended or removed.

    A run whose logs could not be uploaded is kept for a while, and so are the records of one that has no training.
    """
    traces = cluster.traces()  # looked at first: a row is there before its run, and goes after it
    ids = [trace.run_id for trace in traces]
    known = registry.overview.standing(ids)
    # Who runs a tuning works on all of its trials, and removes what they leave.
    worked_on = registry.leased([*ids, *{tuning for trace in traces if (tuning := trace.labels.get("tuning"))}])
    runs = (
        judged(trace, known.get(trace.run_id), registry.id, now, keep)
        for trace in traces
        if worked_on.isdisjoint((trace.run_id, trace.labels.get("tuning", "")))
    )
    return [run for run in runs if run is not None]


def judged(trace: Trace, training: Standing | None, registry_id: str, now: datetime, keep: timedelta) -> LeftRun | None:
    """What is to be done about one run; None when it may stay.

    A run that names no registry, as those of earlier versions, belongs to the one that knows its training.
    """
    if training is not None and training.is_under_way:
        return None
    owner = trace.labels.get(REGISTRY)
    is_strange = owner != registry_id if owner else training is None
    is_delivered = training is not None and training.logs_uploaded
    is_finished = trace.phase in (None, RunPhase.FINISHED)
    is_old = trace.phase is None or trace.changed + keep <= now
    run = LeftRun(trace, training, is_finished and (is_delivered or is_old), is_strange)
    return run if run.lives or run.is_removable else None
