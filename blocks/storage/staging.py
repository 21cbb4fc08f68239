"""Brings the inputs of a run into its directory, through the machine's cache."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocks.domain.errors import StorageUnavailableError
from blocks.domain.plan import InputKind, PlannedInput, PlannedObject
from blocks.storage.base import Storage
from blocks.storage.cache import Cache
from blocks.storage.keys import check_key

_ROUNDS = 5
"""How often objects are fetched that were damaged between arriving in the cache and being linked."""

_REPORT_SECONDS = 0.5

OpenInput = Callable[[PlannedInput], Storage]


@dataclass(frozen=True)
class StagingProgress:
    """How far staging has come, in bytes: `done` includes what was `cached`."""

    done: int
    cached: int
    total: int


Report = Callable[[StagingProgress], None]


@dataclass(frozen=True)
class Staged:
    """What was staged: files and bytes, and how many of the bytes nobody had to fetch."""

    files: int
    bytes: int
    cached_bytes: int


def stage(inputs: Sequence[PlannedInput], open: OpenInput, cache: Cache, into: Path, report: Report) -> Staged:
    """Put every object of the inputs below `into`, read-only, each byte verified.

    What is staged already stays, so that an interrupted staging resumes. Afterwards the run no longer depends on the
    inputs.

    Args:
        inputs: As planned.
        open: Opens the storage of an input.
        cache: Shared by all runs of this machine.
        into: `input_directory` says where each input goes.
        report: Told how far it has come, about twice a second and at the end; never by two threads at once.

    Raises:
        InputMissingError: An object is gone.
        InputChangedError: An object is not as planned.
        AccessDeniedError: Reading is not allowed.
        StorageUnavailableError: A store failed, or stalled, more often than patience allows.
        CapacityError: The disk is full.
    """
    tally = _Tally(sum(planned.size for each in inputs for planned in each.objects), report)
    with cache.lease():
        for each in inputs:
            _stage(each, open(each), cache, input_directory(into, each), tally)
    tally.finish()
    return Staged(sum(len(each.objects) for each in inputs), tally.total, tally.cached)


def input_directory(into: Path, planned: PlannedInput) -> Path:
    """Where below `into` an input is staged: `source`, `datasets/{name}` or `checkpoint`."""
    if planned.kind is InputKind.DATASET:
        return into / "datasets" / check_key(planned.name)
    return into / planned.kind.value


def _stage(planned: PlannedInput, storage: Storage, cache: Cache, directory: Path, tally: "_Tally") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    objects: Sequence[PlannedObject] = planned.objects
    base = f"{directory}/"
    wanted = list(zip(storage.addresses(objects), (base + check_key(o.key) for o in objects), strict=True))
    absent = cache.link(wanted)
    tally.found(sum(o.size for o in objects) - sum(objects[i].size for i in absent))
    for _ in range(_ROUNDS):
        if not absent:
            return
        for fetched in storage.fetch([objects[i] for i in absent], cache, tally.arrived):
            if fetched.cached:
                tally.found(fetched.planned.size)
        again = cache.link([wanted[i] for i in absent])
        absent = [absent[i] for i in again]
    raise StorageUnavailableError(planned.path, f"{wanted[absent[0]][1]} was damaged in the cache again and again")


@dataclass
class _Tally:
    """Counts bytes from many threads, and reports now and then."""

    total: int
    report: Report
    cached: int = 0
    _fetched: int = 0
    _reported: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self, size: int) -> None:
        """So many bytes were there already."""
        with self._lock:
            self.cached += size
            self._say()

    def arrived(self, size: int) -> None:
        """So many bytes have just arrived; some may arrive twice."""
        with self._lock:
            self._fetched += size
            self._say()

    def finish(self) -> None:
        """Say that all is there."""
        with self._lock:
            self.report(StagingProgress(self.total, self.cached, self.total))

    def _say(self) -> None:
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self._reported = time.monotonic()
            self.report(StagingProgress(min(self.cached + self._fetched, self.total), self.cached, self.total))
