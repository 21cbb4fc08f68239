"""Files that others replace before they have rested, as a small checkpoint that is renamed into place twice a second.

By their times they cannot be told from files that are written to. But what is held of such a file, open, changes only
when it is written to: when that has rested, it is complete, whatever has its name by then.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from blocks.domain.errors import MakerflowError
from blocks.launcher.doubts import SETTLED_SECONDS
from blocks.launcher.tree import FoundFile
from blocks.storage.local_files import open_collected

MOST_HELD = 64
"""Of one directory; others are uploaded when they rest by themselves."""


class _Held(NamedTuple):
    """Of one file: what is open, as what it was found, and since when (by `time.monotonic`)."""

    descriptor: int
    found: FoundFile
    since: float


class HeldFiles:
    """What is held of the files of one directory, by their keys. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def hold(self, file: FoundFile, now: float) -> None:
        """Hold what has that name now, unless something is held of it already."""
        if file.key in self._held or len(self._held) >= MOST_HELD:
            return
        with suppress(OSError, MakerflowError):  # it is gone, or a link by now
            descriptor = open_collected(Path(file.path))
            self._held[file.key] = _Held(descriptor, _found(file.key, descriptor), now)

    def rested(self, now: float) -> list[FoundFile]:
        """Those that are complete, to be read by their paths until they are dropped; what was written to is let go."""
        for key, held in list(self._held.items()):
            if _found(key, held.descriptor).version != held.found.version:
                self.drop(key)
        return [held.found for held in self._held.values() if now - held.since >= SETTLED_SECONDS]

    def drop(self, key: str) -> None:
        """Let it go, if it is held."""
        if held := self._held.pop(key, None):
            os.close(held.descriptor)

    def keep(self, keys: set[str]) -> None:
        """Let all others go."""
        for key in set(self._held) - keys:
            self.drop(key)


def _found(key: str, descriptor: int) -> FoundFile:
    facts = os.fstat(descriptor)
    path = f"/proc/self/fd/{descriptor}"
    return FoundFile(key, path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
