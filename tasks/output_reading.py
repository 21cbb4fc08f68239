"""Reading what workers print; what the cluster cannot tell any more of it, from the log that was uploaded."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tenacity import retry, retry_if_exception_type, stop_after_attempt

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

UPLOADED_BYTES = 8 << 20
"""So much of an uploaded log is read at once."""

logger = logging.getLogger("makerflow")


class OutputReader:
    """Reads the output of one run.

    Args:
        platform: Where it runs.
        handle: The run; its id is that of its training.
    """

    def __init__(self, platform: Platform, handle: RunHandle) -> None:
        self._platform, self._handle = platform, handle

    def read(self, rank: int, since: int, at_most: int) -> tuple[bytes, int]:
        """What `Cluster.read_output` tells, and what the uploaded log has of that which is missing there.

        Raises:
            NotFoundError: The cluster does not hold this run.
            TransientError: The cluster or the store does not answer.
        """
        cluster = self._platform.cluster
        found = cluster.read_output(self._handle, rank, since=since, at_most=at_most)
        if found.cut_at is None:
            return found.data, found.cursor
        attempt, position = cluster.position_of(found.cut_at)
        data, end = self._read_uploaded(rank, attempt, position)
        return (data, found.cut_at + end - position) if data else (found.data, found.cursor)

    def _read_uploaded(self, rank: int, attempt: int, position: int) -> tuple[bytes, int]:
        """The next piece of it, and the position behind it; none where the log has no more."""
        row = self._platform.registry.trainings.get(self._handle.run_id)
        try:
            for output in _outputs_of(self._platform, row):
                if output.kind is OutputKind.LOG:
                    with uploaded_log(self._platform, output_path(output, rank) / LOG_NAME) as log:
                        return UploadedLog(log).read(attempt, position, UPLOADED_BYTES)
        except InputMissingError:
            pass  # it was lost before it had uploaded any
        except PermanentError as error:  # writing is all that the outputs ask for
            logger.warning("What %s printed last is not read from its uploaded log: %s", row.name, error)
        return b"", position


def _outputs_of(platform: Platform, row: Training) -> tuple[PlannedOutput, ...]:
    if row.plan is not None or row.tuning_id is None:
        return row.plan.outputs if row.plan else ()
    tunings = platform.registry.tunings
    tuning = tunings.get(row.tuning_id)
    return plan_of_trial(platform, tuning, tunings.trial(tuning.id, int(row.name.rpartition("/")[2]))).outputs


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
