"""Whether a process does anything at all. Standard library only."""

import time
from contextlib import suppress
from pathlib import Path


class Pulse:
    """For how long a process has been seen to do nothing.

    The kernel counts the processor time of all its threads and each time that its main thread waits or is made to wait,
    so one that merely waits with a time limit, as our agents do, is told from one that is halted or hangs.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._files = [Path(f"/proc/{pid}/{name}") for name in ("stat", "status")]
        self._signs, self._moved = self._look(), time.monotonic()

    def silent_seconds(self) -> float:
        """Since the last look, or the first one, at which something was different from the look before."""
        signs, now = self._look(), time.monotonic()
        if signs != self._signs:
            self._signs, self._moved = signs, now
        return now - self._moved

    def _look(self) -> list[bytes]:
        signs = []
        with suppress(OSError):  # it is gone, which is nothing that moves
            signs += [file.read_bytes() for file in self._files]
        return signs
