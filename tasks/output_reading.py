"""Reading what workers print; what the cluster cannot tell any more of it, from the log that was uploaded."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from blocks.cluster.base import OutputRead
from blocks.cluster.uploaded_log import UploadedLog
from blocks.connections.platform import Platform
from blocks.domain.errors import InputChangedError, InputMissingError, PermanentError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput, RunHandle
from blocks.launcher.mirror import output_path
from blocks.launcher.outputs import LOG_NAME
from blocks.registry.records import Training
from blocks.storage.base import Fetched, Storage
from blocks.storage.cache import Cache
from tasks.planning import plan_of_trial

logger = logging.getLogger("makerflow")


class OutputReader:
    """Reads the output of one run. For one thread.

    Args:
        platform: Where it runs.
        handle: The run; its id is that of its training.
    """

    def __init__(self, platform: Platform, handle: RunHandle) -> None:
        self._platform, self._handle = platform, handle
        self._missing: dict[int, _Missing] = {}

    def read(self, rank: int, since: int, at_most: int) -> tuple[bytes, int]:
        """What `Cluster.read_output` tells, and what the uploaded log has of that which is missing there.

        Raises:
            NotFoundError: The cluster does not hold this run.
            TransientError: The cluster or the store does not answer.
        """
        missing = self._missing.get(rank)
        if missing is None or missing.next != since:
            found = self._platform.cluster.read_output(self._handle, rank, since=since, at_most=at_most)
            if found.cut_at is None:
                return found.data, found.cursor
            try:
                missing = self._missing[rank] = _Missing(found, self._open(rank, found.cut_at), found.cut_at)
            except InputChangedError:  # workers that run replace it; once they have ended nobody does
                return b"", since
        data, cursor = self._read_missing(rank, missing, at_most)
        return (data, cursor) if cursor != since else self.read(rank, since, at_most)  # the log had all of it

    def _read_missing(self, rank: int, missing: "_Missing", at_most: int) -> tuple[bytes, int]:
        """The next piece of what the cluster could not tell; at last what it said instead."""
        position_of, found = self._platform.cluster.position_of, missing.found
        attempt, position = position_of(missing.next)
        ends = position_of(found.cursor)
        until = ends[1] if ends[0] == attempt else sys.maxsize
        data, end = missing.log.read(position, until, at_most) if missing.log else (b"", position)
        if data:
            missing.next += end - position
            return data, missing.next
        del self._missing[rank]
        return found.data, found.cursor

    def _open(self, rank: int, cursor: int) -> UploadedLog | None:
        """What was uploaded of the attempt to which a cursor belongs; None where that cannot be known."""
        row = self._platform.registry.trainings.get(self._handle.run_id)
        attempt, _ = self._platform.cluster.position_of(cursor)
        try:
            for output in _outputs_of(self._platform, row):
                if output.kind is OutputKind.LOG:
                    with uploaded_log(self._platform, output_path(output, rank) / LOG_NAME) as log:
                        return UploadedLog(log, attempt)
        except InputMissingError:
            pass  # it was lost before it had uploaded any
        except InputChangedError:
            raise
        except PermanentError as error:  # writing is all that the outputs ask for
            logger.warning("What is missing of the output of %s is not read from its uploaded log: %s", row.name, error)
        return None


@dataclass
class _Missing:
    """What the cluster cannot tell of a worker's output.

    Attributes:
        found: What it says instead.
        log: What was uploaded of it; None where that cannot be known.
        next: The cursor from which on the log is to be read.
    """

    found: OutputRead
    log: UploadedLog | None
    next: int


def _outputs_of(platform: Platform, row: Training) -> tuple[PlannedOutput, ...]:
    if row.plan is not None or row.tuning_id is None:
        return row.plan.outputs if row.plan else ()
    tunings = platform.registry.tunings
    tuning = tunings.get(row.tuning_id)
    trial = tunings.trial(tuning.id, int(row.name.rpartition("/")[2]))
    return plan_of_trial(platform, tuning, trial).outputs if trial.training_id == row.id else ()  # it was run again


@contextmanager
def uploaded_log(platform: Platform, path: StoragePath) -> Iterator[BinaryIO]:
    """A worker's uploaded log, as it is now.

    Raises:
        InputMissingError: There is none.
        PermanentError: It may not be read, or is replaced again and again while it is.
        TransientError: The store does not answer.
    """
    cache = Cache(platform.settings.home / "cache" / "objects", int(platform.settings.cache_gb * 2**30))
    with cache.lease(), _fetch(platform.storage(path), path, cache).file.open("rb") as stream:
        yield stream


@retry(retry=retry_if_exception_type(InputChangedError), stop=stop_after_attempt(3), reraise=True)
def _fetch(storage: Storage, path: StoragePath, cache: Cache) -> Fetched:
    """The one object; workers that run replace it now and then."""
    [fetched] = storage.fetch(storage.plan(path), cache, lambda _: None)
    return fetched
