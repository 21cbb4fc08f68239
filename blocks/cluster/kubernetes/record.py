"""The record of a run: what the cluster itself keeps of it, in the ConfigMap that owns all of the run's objects.

Whoever follows the run writes down here what the run's objects and its sidecars tell, one after the other: each write
names the version that it replaces, so of two that write at once one finds that the other was there first.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, TypeAdapter

from blocks.cluster.outcome import Outcome
from blocks.domain.plan import ExitRecord, Frozen, RestartPolicy, RunEvent, RunPlan

EVENTS: TypeAdapter[tuple[RunEvent, ...]] = TypeAdapter(tuple[RunEvent, ...])
_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)

INFORMING = ("usage", "checkpointed", "staging")
"""Events that only inform: of very many the oldest are dropped, as an object of Kubernetes holds no more than 1 MiB."""

MOST_INFORMING = 600
TAIL_BYTES = 64_000
"""Of what all exit records of one attempt keep of their workers' output."""


class RunRecord(Frozen):
    """What is known of a run.

    Attributes:
        workers: How many there are.
        vcpus: What one of them asks for.
        attempt: The Job that runs, or is to run, now: from 1.
        seen: The attempt whose Job somebody has seen: one that is not there any more was deleted.
        ending: The last attempt whose Job we have deleted ourselves, as its workers are to end.
        concluded: The last attempt whose end was dealt with.
        deadline: Fixed when the first attempt starts.
        stop: The grace in seconds, once somebody asked the run to end.
        secrets: How many Secrets hold the plan.
        frames: `{attempt}/{rank}` to the number of the last event of its sidecar that was taken over.
        sequence: The number of the last event.
        events: In order; see `INFORMING`.
    """

    run_id: str
    created: datetime
    labels: dict[str, str]
    workers: int
    vcpus: float
    time_limit_seconds: float
    restarts: RestartPolicy
    logs: tuple[str, ...] = ()
    attempt: int = 1
    seen: int = 0
    ending: int = 0
    concluded: int = 0
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
        )

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
        event = _EVENT.validate_python(
            {"kind": kind, "run_id": self.run_id, "sequence": number, "at": at or datetime.now(UTC), **fields}
        )
        return self.change(sequence=number, events=(*self.events, event))

    def take(self, attempt: int, rank: int, frames: Iterable[dict[str, Any]]) -> "RunRecord":
        """With those events of a sidecar that only inform and are not taken over yet."""
        key, record = f"{attempt}/{rank}", self
        for frame in frames:
            if frame["sequence"] <= record.frames.get(key, 0) or frame["kind"] not in INFORMING:
                continue
            fields = {name: value for name, value in frame.items() if name not in ("kind", "run_id", "sequence", "at")}
            if frame["kind"] != "staging" or (rank == 0 and not record.is_staged):  # one worker's stands for all
                record = record.tell(frame["kind"], frame["at"], **fields)
            record = record.change(frames={**record.frames, key: frame["sequence"]})
        return record._bounded()

    def change(self, **changes: object) -> "RunRecord":
        """With other values."""
        return self.model_copy(update=changes)

    def _bounded(self) -> "RunRecord":
        informing = [event.sequence for event in self.events if event.kind in INFORMING]
        if len(informing) <= MOST_INFORMING:
            return self
        dropped = set(informing[: len(informing) - MOST_INFORMING // 2])
        return self.change(events=tuple(event for event in self.events if event.sequence not in dropped))
