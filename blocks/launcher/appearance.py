"""What others see of this process in /proc: its command line and its environment.

The kernel shows the memory in which a process found them when it began. A process that was forked shows those of the
one that it was forked from, until it writes its own over them. Standard library only.
"""

import ctypes
import os
from dataclasses import dataclass

_ARGUMENTS, _ENVIRONMENT = 45, 47  # of the fields behind the name in /proc/self/stat: each a beginning and an end


@dataclass(frozen=True)
class Room:
    """A part of this process's memory that others see; it stays as large as it was when the process began."""

    address: int
    size: int

    def fits(self, text: bytes) -> bool:
        """Whether it can show this."""
        return len(text) <= self.size

    def show(self, text: bytes) -> None:
        """Let others see this from now on, and nothing of what was there.

        Raises:
            ValueError: It does not fit.
        """
        if not self.fits(text):
            raise ValueError(f"{len(text)} bytes do not fit into {self.size}")
        ctypes.memmove(self.address, text.ljust(self.size, b"\0"), self.size)


def find_arguments(first: str) -> Room:
    """The part of the command line from the last argument that is equal to `first` on, to its end.

    Raises:
        OSError: The kernel does not show this process's memory.
    """
    return _find("/proc/self/cmdline", _ARGUMENTS, os.fsencode(first) + b"\0", to_the_end=True)


def find_variable(name: str) -> Room:
    """The part of the environment that holds this variable, its name included.

    Raises:
        OSError: As above.
    """
    return _find("/proc/self/environ", _ENVIRONMENT, os.fsencode(name) + b"=", to_the_end=False)


def _find(file: str, field: int, beginning: bytes, *, to_the_end: bool) -> Room:
    with open(file, "rb") as shown, open("/proc/self/stat", "rb") as stat:
        text, fields = shown.read(), stat.read().rpartition(b")")[2].split()
    start, end = int(fields[field]), int(fields[field + 1])
    at = (b"\0" + text).rfind(b"\0" + beginning)
    if at < 0 or end - start != len(text) or ctypes.string_at(start, len(text)) != text:
        raise OSError(f"{file} does not show the memory of this process")
    last = len(text) - 1 if to_the_end else text.index(b"\0", at)  # a zero that has to stay
    room = Room(start + at, last - at)
    _check(file, room)
    return room


def _check(file: str, room: Room) -> None:
    """Some kernels show a copy of what a process began with."""
    before = ctypes.string_at(room.address, room.size)
    room.show(b"?" * room.size)
    with open(file, "rb") as shown:
        is_shown = b"?" * room.size in shown.read()
    room.show(before)
    if not is_shown:
        raise OSError(f"{file} does not show what a process writes into its memory")
