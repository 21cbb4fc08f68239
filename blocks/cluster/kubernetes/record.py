"""The record of a run: what the cluster itself keeps of it, in the ConfigMap that owns all of the run's objects.

Whoever follows the run writes down here what the run's objects and its sidecars tell, one after the other: each write
names the version that it replaces, so of two that write at once one finds that the other was there first.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import accumulate, takewhile
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from blocks.cluster.kubernetes.names import Object, name_of
from blocks.cluster.outcome import Outcome
from blocks.domain.errors import PermanentError
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
"""Of very many of these the oldest are dropped."""

MOST_PASSING = 600
PASSING_BYTES = 300_000
TAIL_BYTES = 40_000
"""Of what all exit records of one attempt keep of their workers' output."""

MESSAGE_BYTES = 80_000
"""Of their messages, which so are whole up to some hundred workers."""

RECORD_BYTES = 900_000
"""An object of Kubernetes holds no more than 1 MiB. All bytes are those of JSON, where some characters take six."""

EVENT_BYTES = 16_384
"""Of an event of a sidecar: a path of 4096 bytes fits."""

_MOST = 1 << 53
"""What is counted stays below, so that it fits wherever somebody keeps it."""


class UnreadableRecordError(PermanentError):
    """A run's record cannot be read: a later version of the platform wrote it, or somebody edited it."""

    def __init__(self, run: str, why: str) -> None:
        self.run, self.why = run, why
        super().__init__(
            f"The record of the run {run} cannot be read: {why}. Use the version of the platform that wrote it; or end "
            f"and forget the run, with all that is left of it on the cluster: `kubectl delete configmap {run}`."
        )


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
    def has_restarted(self) -> bool:
        """Whether its attempt follows one that ran, or was to: it goes on from what that has done."""
        return self.attempt > 1 + self.released

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
        """With one more event; none follows the last one.

        Raises:
            ValueError: It is none.
        """
        if kind == "exited":
            fields["record"] = self._shortened(ExitRecord.model_validate(fields["record"]))
        told = self._with(kind, at, {name: _clean(v) if isinstance(v, str) else v for name, v in fields.items()})
        if kind == "uploaded":  # its numbers come from where an entry point can write, too
            _check(told.events[-1])
        return told

    def take(self, attempt: int, rank: int, frames: Iterable[Mapping[str, Any]]) -> "RunRecord":
        """With those events of a sidecar that only inform and are not taken over yet.

        An entry point can write where its sidecar reads them: what is no event is left out.
        """
        key, record = f"{attempt}/{rank}", self
        for frame in frames:
            if not is_informing(frame) or frame["sequence"] <= record.frames.get(key, 0):
                continue
            kind = frame["kind"]
            fields = {name: frame[name] for name in _INFORMING[kind] & set(frame)}
            if kind != "staging" or (rank == 0 and not record.is_staged):  # one worker's stands for all
                with suppress(ValueError, OverflowError):
                    told = record._with(kind, frame.get("at"), fields)
                    _check(told.events[-1])
                    record = told
            record = record.change(frames={**record.frames, key: frame["sequence"]})
        return record

    def _with(self, kind: str, at: object, fields: Mapping[str, object]) -> "RunRecord":
        if self.is_over:
            return self
        number = self.sequence + 1
        event = _EVENT.validate_python(
            {"kind": kind, "run_id": self.run_id, "sequence": number, "at": at or datetime.now(UTC), **fields}
        )
        return self.change(sequence=number, events=(*self.events, event))

    def to_json(self) -> str:
        """As it is kept, in no more than `RECORD_BYTES`: what is needed least is left out where there is too much."""
        text = self.model_dump_json()
        if len(self.events) <= MOST_PASSING and len(text.encode()) <= PASSING_BYTES:
            return text
        return self._without_old_passing()._without_least_needed().model_dump_json()

    def change(self, **changes: object) -> "RunRecord":
        """With other values."""
        return self.model_copy(update=changes)

    def _shortened(self, exit: ExitRecord) -> ExitRecord:
        """With as much of its tail as there is room for when there are many workers."""
        tail = _cut(_clean(exit.tail)[::-1], TAIL_BYTES // self.workers)[::-1]
        message = _cut(_clean(exit.message), MESSAGE_BYTES // self.workers)
        return exit.model_copy(update={"tail": tail, "message": message})

    def _without_old_passing(self) -> "RunRecord":
        """Without the older half of what only informs, when that is too much."""
        passing = [event for event in self.events if _is_passing(event)]
        sizes = list(accumulate(map(_bytes_of, reversed(passing))))
        if len(passing) <= MOST_PASSING and (not sizes or sizes[-1] <= PASSING_BYTES):
            return self
        kept = sum(size <= PASSING_BYTES // 2 for size in sizes[: MOST_PASSING // 2])
        return self._without(passing[: len(passing) - kept])

    def _without_least_needed(self) -> "RunRecord":
        """Small enough without, one after the other, what only informs, what preceded a restart, and uploads."""
        excess = len(self.model_dump_json().encode()) - RECORD_BYTES
        restarts = [place for place, event in enumerate(self.events) if event.kind == "restarted"]
        earlier = self.events[: restarts[-1]] if restarts else ()
        least = [
            *filter(_is_passing, self.events),
            *(event for event in earlier if event.kind in ("placed", "started", "exited", "restarted")),
            *(event for event in reversed(self.told("uploaded")) if event.output != "log"),
        ]
        before = accumulate(map(_bytes_of, least), initial=0)
        return self._without(event for event, size in zip(least, before, strict=False) if size < excess)

    def _without(self, dropped: Iterable[RunEvent]) -> "RunRecord":
        numbers = {event.sequence for event in dropped}
        return self.change(events=tuple(event for event in self.events if event.sequence not in numbers))


def record_of(object: Object) -> RunRecord:
    """The record that a ConfigMap holds; what a later version wrote into it beside is left out.

    Raises:
        UnreadableRecordError: It holds none.
    """
    try:
        return RunRecord.model_validate_json(object["data"]["record"], extra="ignore")
    except KeyError as error:
        raise UnreadableRecordError(name_of(object), f"there is no {error} in it") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnreadableRecordError(name_of(object), f"{where}: {first['msg']}" if where else first["msg"]) from error


def is_informing(frame: Mapping[str, Any]) -> bool:
    """Whether it may be an event of a sidecar that only informs, by its kind, number and size."""
    kind, number = frame.get("kind"), frame.get("sequence")
    if not isinstance(kind, str) or kind not in _INFORMING or type(number) is not int or not 0 < number < _MOST:
        return False
    try:
        return len(json.dumps(frame)) <= EVENT_BYTES
    except (ValueError, RecursionError):
        return False


def _check(event: RunEvent) -> None:
    """Raise a ValueError, or an OverflowError, for an event that nobody could keep, or read again."""
    text = _EVENT.dump_json(event)
    json.loads(text, parse_int=_small)
    if _EVENT.validate_json(text) != event:
        raise ValueError("it is read as another one than it was written")
    event.at.astimezone(UTC)


def _small(digits: str) -> int:
    if not 0 <= (number := int(digits)) < _MOST:
        raise ValueError(f"{digits[:20]} is nothing that is counted")
    return number


def _is_passing(event: RunEvent) -> bool:
    """Whether it only informs. That all inputs are there does not: it is told once."""
    return event.kind in _PASSING and not (event.kind == "staging" and event.step == "inputs" and event.finished)


def _bytes_of(event: RunEvent) -> int:
    return len(_EVENT.dump_json(event)) + 1


def _clean(text: str) -> str:
    """Without what no encoding has, as a lone surrogate."""
    return text.encode("utf-8", "replace").decode()


def _cut(text: str, most: int) -> str:
    """As much of its beginning as takes so many bytes in JSON."""
    sizes = accumulate(len(json.dumps(each, ensure_ascii=False).encode()) - 2 for each in text[:most])
    return text[: sum(1 for _ in takewhile(lambda size: size <= most, sizes))]
