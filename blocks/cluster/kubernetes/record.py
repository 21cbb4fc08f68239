"""The record of a run: what the cluster itself keeps of it, in the ConfigMap that owns all of the run's objects.

Whoever follows the run writes down here what the run's objects and its sidecars tell, one after the other: each write
names the version that it replaces, so of two that write at once one finds that the other was there first.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, TypeAdapter

from blocks.cluster.outcome import Outcome
from blocks.domain.paths import StoragePath
from blocks.domain.plan import (
    Checkpointed,
    ExitRecord,
    Frozen,
    RestartPolicy,
    RunEvent,
    RunPlan,
    Staging,
    Usage,
)

_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)

_ENVELOPE = {"kind", "run_id", "sequence", "at"}
_INFORMING: dict[str, set[str]] = {
    "usage": set(Usage.model_fields) - _ENVELOPE,
    "checkpointed": set(Checkpointed.model_fields) - _ENVELOPE,
    "staging": set(Staging.model_fields) - _ENVELOPE,
}
"""Events of sidecars that only inform, and their fields."""

_PASSING = (*_INFORMING, "queued")
"""Of very many of these the oldest are dropped, as an object of Kubernetes holds no more than 1 MiB."""

MOST_PASSING = 600
PASSING_BYTES = 300_000
TAIL_BYTES = 40_000
"""Of what all exit records of one attempt keep of their workers' output."""

MESSAGE_BYTES = 80_000
"""Of their messages, which so are whole up to some hundred workers."""


class RunRecord(Frozen):
    """What is known of a run.

    Attributes:
        workers: How many there are.
        vcpus: What one of them asks for.
        attempt: The Job that runs, or is to run, now: from 1.
        seen: The attempt whose Job somebody has seen: one that is not there any more was deleted.
        ending: The last attempt whose Job we have deleted ourselves, as its workers are to end.
        concluded: The last attempt whose end was dealt with.
        released: How many attempts gave back the places of some workers, as there was none for the others.
        not_before: Seconds of the epoch: when the attempt that follows such a one is to be made.
        deadline: Fixed when the first attempt starts.
        stop: The grace in seconds, once somebody asked the run to end.
        logs: Where logs go.
        places: Where outputs go; None in a record of an earlier version.
        secrets: How many Secrets hold the plan.
        frames: `{attempt}/{rank}` to the number of the last event of its sidecar that was taken over.
        sequence: The number of the last event.
        events: In order, and all of them but the oldest of very many that only inform.
    """

    run_id: str
    created: datetime
    labels: dict[str, str]
    workers: int
    vcpus: float
    time_limit_seconds: float
    restarts: RestartPolicy
    logs: tuple[str, ...] = ()
    places: tuple[str, ...] | None = None
    attempt: int = 1
    seen: int = 0
    ending: int = 0
    concluded: int = 0
    released: int = 0
    not_before: float = 0.0
    restarts_used: int = 0
    out_of_memory_used: int = 0
    deadline: float | None = None
    stop: float | None = None
    secrets: int = 1
    frames: dict[str, int] = Field(default_factory=dict)
    sequence: int = 0
    events: tuple[RunEvent, ...] = ()

    @classmethod
    def of(cls, plan: RunPlan, secrets: int, vcpus: float) -> "RunRecord":
        """The record of a run that is about to be launched."""
        return cls(
            run_id=plan.run_id,
            created=plan.created,
            labels=plan.labels,
            workers=plan.workers,
            vcpus=vcpus,
            time_limit_seconds=plan.time_limit_seconds,
            restarts=plan.restarts,
            secrets=secrets,
            logs=tuple(output.path for output in plan.outputs if output.kind == "log"),
            places=tuple(output.path for output in plan.outputs),
        )

    def is_place(self, path: object, rank: int) -> bool:
        """Whether an output of a worker goes there: its sidecar reads that where the entry point can write, too."""
        roots = [StoragePath.parse(place) for place in self.places or ()]
        return self.places is None or path in [str(r) for root in roots for r in (root, root / f"worker-{rank}")]

    @property
    def is_over(self) -> bool:
        """Whether its last event is told."""
        return bool(self.events) and self.events[-1].kind == "finished"

    @property
    def is_staged(self) -> bool:
        """Whether it is told that the inputs are there."""
        return any(event.finished for event in self.told("staging") if event.step == "inputs")

    @property
    def outcome(self) -> Outcome:
        """How it ended, once it is over."""
        last = self.events[-1]
        return Outcome(last.cause, last.message) if last.kind == "finished" else Outcome("")

    def told(self, kind: str, attempt: int | None = None) -> list[Any]:
        """The events of one kind, of one attempt where events of that kind name theirs."""
        return [e for e in self.events if e.kind == kind and attempt in (None, getattr(e, "attempt", attempt))]

    def exits(self, attempt: int) -> dict[int, ExitRecord]:
        """Rank to how its worker ended in an attempt, as far as it has."""
        records = [event.record for event in self.events if event.kind == "exited"]
        return {record.rank: record for record in records if record.attempt == attempt}

    def tell(self, kind: str, at: datetime | None = None, **fields: object) -> "RunRecord":
        """With one more event; none follows the last one."""
        if self.is_over:
            return self
        number = self.sequence + 1
        if kind == "exited":
            fields["record"] = self._shortened(ExitRecord.model_validate(fields["record"]))
        event = _EVENT.validate_python(
            {"kind": kind, "run_id": self.run_id, "sequence": number, "at": at or datetime.now(UTC), **fields}
        )
        return self.change(sequence=number, events=(*self.events, event))._bounded(kind)

    def take(self, attempt: int, rank: int, frames: Iterable[dict[str, Any]]) -> "RunRecord":
        """With those events of a sidecar that only inform and are not taken over yet.

        An entry point can write where its sidecar reads them: what is no event is left out.
        """
        key, record = f"{attempt}/{rank}", self
        for frame in frames:
            kind, number = str(frame.get("kind")), frame.get("sequence")
            if kind not in _INFORMING or not isinstance(number, int) or number <= record.frames.get(key, 0):
                continue
            fields = {name: frame[name] for name in _INFORMING[kind] & set(frame)}
            if kind != "staging" or (rank == 0 and not record.is_staged):  # one worker's stands for all
                with suppress(ValueError):
                    record = record.tell(kind, frame.get("at"), **fields)
            record = record.change(frames={**record.frames, key: number})
        return record

    def change(self, **changes: object) -> "RunRecord":
        """With other values."""
        return self.model_copy(update=changes)

    def _shortened(self, exit: ExitRecord) -> ExitRecord:
        """With as much of its tail as there is room for when there are many workers."""
        tail = exit.tail.encode()[-(TAIL_BYTES // self.workers) :].decode("utf-8", "ignore")
        message = exit.message.encode()[: MESSAGE_BYTES // self.workers].decode("utf-8", "ignore")
        return exit.model_copy(update={"tail": tail, "message": message})

    def _bounded(self, kind: str) -> "RunRecord":
        """Without the older half of what only informs, when that is too much. That all is staged is no such thing."""
        if kind not in _PASSING:
            return self
        passing = [e for e in self.events if e.kind in _PASSING and not (e.kind == "staging" and e.finished)]
        if len(passing) <= MOST_PASSING and (len(passing) < 100 or _bytes_of(passing) <= PASSING_BYTES):
            return self
        dropped = {event.sequence for event in passing[: len(passing) // 2]}
        return self.change(events=tuple(event for event in self.events if event.sequence not in dropped))


def _bytes_of(events: Iterable[RunEvent]) -> int:
    """About what they take as JSON."""
    return sum(len(event.path.encode()) + 200 if event.kind == "checkpointed" else 600 for event in events)
