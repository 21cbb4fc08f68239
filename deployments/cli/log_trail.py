"""Where a worker's uploaded log goes on behind what the cluster has told of its output."""

import re
from mmap import ACCESS_READ, mmap
from os import fstat
from typing import BinaryIO

KEPT_BYTES = 1 << 14
"""Of what was read last: by it the place is found, or made sure of."""

FEW_BYTES = 1 << 10
"""Of a log behind the place that was found, by which is seen whether it may hold what was read already."""

_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()


class LogTrail:
    """What was read of a worker's output.

    The uploaded log holds the output of all attempts, one after the other. Of an attempt that was killed it may lack
    the end, and where output was dropped it has a mark that is not as long; so counting alone does not do.

    Args:
        attempt: The attempt, as `Cluster.position_of` counts them, in which reading begins.
        position: The byte of its output with which it begins.
    """

    def __init__(self, attempt: int = 1, position: int = 0) -> None:
        self._attempt, self._position = attempt, position
        self._before: int | None = 0 if attempt == 1 else None  # bytes of the earlier attempts in the log, where known
        self._last = bytearray()  # of this attempt, without what is behind a gap
        self._lacks_end = self._is_all = False

    def add(self, data: bytes, attempt: int, position: int) -> None:
        """Note what was read: lines of output or a note of ours, and the place behind it."""
        if not data:
            return  # another attempt has begun, and printed nothing yet
        self._is_all = False
        if position == 0 or (attempt, position) == (self._attempt, self._position):  # a note that the end is missing
            self._lacks_end = True
            return
        if attempt != self._attempt:
            self._begin(attempt)
        size, self._position = position - self._position, position
        if 0 <= len(data) - size <= 1 and _REPLACED not in data:  # the last line's end may be ours
            self._last += data[:size]
            if len(self._last) > 2 * KEPT_BYTES:
                del self._last[:-KEPT_BYTES]
        else:  # a note of what is missing, or a line that is not told as it was printed
            self._last.clear()
            if size > len(data):
                self._before = None

    def end(self) -> None:
        """Note that the cluster has told all that was printed, unless it has said that the end is missing."""
        self._is_all = not self._lacks_end

    def find_in(self, log: BinaryIO) -> tuple[int, bool]:
        """Where the uploaded log goes on, and whether that is certain: where it is not, nothing new is before it."""
        size = fstat(log.fileno()).st_size
        if not size:
            return 0, True
        with mmap(log.fileno(), size, access=ACCESS_READ) as content:
            return self._find_in(content)

    def _begin(self, attempt: int) -> None:
        is_known = self._before is not None and not self._lacks_end
        self._before = (self._before or 0) + self._position if is_known else None
        self._attempt, self._position, self._lacks_end = attempt, 0, False
        self._last.clear()

    def _find_in(self, log: mmap) -> tuple[int, bool]:
        last = bytes(self._last[-KEPT_BYTES:])
        if self._is_all and _ends_with(log, len(log), last):
            return len(log), True
        if self._before is not None and not (self._lacks_end and self._position):
            counted = self._before + self._position
            if _ends_with(log, counted, last):
                return counted, True
        if not last:
            return 0, False
        pattern = re.compile(re.escape(last))  # unlike `mmap.find` not slow where the output repeats itself
        first = pattern.search(log)
        if first is None:
            return (len(log), True) if _ends_within(log, last) else (0, False)
        rest = log[first.end() : first.end() + FEW_BYTES]
        is_new = not rest or rest not in last  # else it may be this attempt's beginning, behind an earlier one's end
        return first.end(), is_new and pattern.search(log, first.start() + 1) is None


def _ends_with(log: mmap, end: int, last: bytes) -> bool:
    return len(last) <= end <= len(log) and log[end - len(last) : end] == last


def _ends_within(log: mmap, last: bytes) -> bool:
    """Whether a log was uploaded before all was printed that was read: it ends with a beginning of that."""
    end, line = log[-len(last) :], last.find(b"\n") + 1 or len(last)
    return any(end.endswith(last[:size]) for size in range(len(last) - 1, line - 1, -1))
