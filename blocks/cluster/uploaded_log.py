"""A worker's uploaded log: the output of all its attempts in one file, with a mark where each later one begins."""

import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from os import fstat
from typing import BinaryIO, NamedTuple

BEGINS = b"\n[makerflow: the output of attempt %d begins here]\n"
DROPPED = b"\n[makerflow: %d bytes of output were dropped here; the limit is %d MiB per worker]\n"

_MARK = b"\n[makerflow: "
_BEGINS = re.compile(re.escape(BEGINS).replace(b"%d", b"([0-9]{1,9})"))
_DROPPED = re.compile(re.escape(DROPPED).replace(b"%d", b"([0-9]{1,12})"))


class _Stretch(NamedTuple):
    """A part of the log without marks.

    Attributes:
        begin: Its first byte in the log.
        end: Behind its last one.
        position: The byte of the attempt's output with which it begins.
    """

    begin: int
    end: int
    position: int


class UploadedLog:
    """What a log has of one attempt, by the positions in its output that a cluster tells (`Cluster.position_of`).

    It may lack the end of an attempt, and all of one: those that were killed before they had uploaded it. Marks are
    believed also where an entry point has printed them: it misleads those who read its own output.

    Args:
        file: All of the log; it need not stay open.
        attempt: The attempt, from 1 on.
    """

    def __init__(self, file: BinaryIO, attempt: int) -> None:
        size = fstat(file.fileno()).st_size
        self._log = mmap(file.fileno(), size, access=ACCESS_READ) if size else b""
        self.attempt = attempt
        self._stretches = list(_stretches(self._log, attempt))

    def offset_of(self, position: int) -> int:
        """Where that byte is in the log; of what it lacks where that would be."""
        for stretch in self._stretches:
            if position < stretch.position:  # it was dropped
                return stretch.begin
            offset = stretch.begin + position - stretch.position
            if offset <= stretch.end:
                return offset
        return stretch.end

    def read(self, position: int, until: int, at_most: int) -> tuple[bytes, int]:
        """Whole lines of the output from a position on, about that many bytes, and the position behind them.

        Nothing new is all that there is. Of a line without an end it is not known whether that is all of it: it is
        left out. A line that is longer than `at_most` is cut.

        Args:
            position: Of the first byte.
            until: Behind the last byte that is wanted.
            at_most: About so many bytes.
        """
        for stretch in self._stretches:
            first = max(position, stretch.position)
            begin = stretch.begin + first - stretch.position
            size = min(at_most, until - first, stretch.end - begin)
            data = self._log[begin : begin + max(size, 0)]
            if end := data.rfind(b"\n") + 1:
                return data[:end], first + end
            if len(data) == at_most:
                return data + b"\n", first + at_most
        return b"", position


def _stretches(log: bytes | mmap, attempt: int) -> Iterator[_Stretch]:
    """An attempt's output, in order; an empty one where the log has none of it."""
    begin, position = 0 if attempt == 1 else len(log), 0
    for at in _marks(log):
        if start := _BEGINS.match(log, at):
            if int(start[1]) > attempt:
                yield _Stretch(min(begin, at), at, position)
                return
            if int(start[1]) == attempt:
                begin, position = start.end(), 0
        elif at >= begin and (gap := _DROPPED.match(log, at)):
            yield _Stretch(begin, at, position)
            begin, position = gap.end(), position + at - begin + int(gap[1])
    yield _Stretch(begin, len(log), position)


def _marks(log: bytes | mmap) -> Iterator[int]:
    """Where a mark may be: by `find`, as it is ten times as fast as a pattern, and all other threads wait for it."""
    at = log.find(_MARK)
    while at >= 0:
        yield at
        at = log.find(_MARK, at + 1)
