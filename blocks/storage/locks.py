"""Locks of the cache."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from blocks.locks import is_locked, locked

_TICK_SECONDS = 0.001


class CacheLock:
    """Held by one process at a time, while it links or evicts; also the clock of the cache's file system."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def held(self) -> Iterator["FileClock"]:
        """Wait for the lock and hold it."""
        with locked(self._file) as descriptor:
            yield FileClock(descriptor)


class FileClock:
    """The time that the file system gives to files that change now. It moves in steps of up to ten milliseconds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pass_ns(self) -> int:
        """The time now, once it is over: what has changed has no later time, and what changes from here on has."""
        now = self._now_ns()
        while self._now_ns() <= now:
            time.sleep(_TICK_SECONDS)
        return now

    def _now_ns(self) -> int:
        os.utime(self._descriptor)
        return os.fstat(self._descriptor).st_ctime_ns


class Leases:
    """Who is staging now: a locked file for each process that does."""

    def __init__(self, directory: Path, lock: CacheLock) -> None:
        self._directory, self._lock = directory, lock

    @contextmanager
    def take(self) -> Iterator[None]:
        """Have one."""
        file = self._directory / uuid.uuid4().hex
        with ExitStack() as stack:
            with self._lock.held():  # so that nobody takes it for a dead one before it is locked
                stack.enter_context(locked(file))
            stack.callback(file.unlink, missing_ok=True)
            yield

    def oldest(self) -> float:
        """When the oldest that is still held was taken; now, when there is none. Call it under the lock."""
        oldest = time.time()
        for file in self._directory.iterdir():
            if not is_locked(file):
                file.unlink(missing_ok=True)
                continue
            with suppress(FileNotFoundError):  # it was let go just now
                oldest = min(oldest, file.stat().st_mtime)
        return oldest
