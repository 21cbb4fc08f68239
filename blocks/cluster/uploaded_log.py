"""A worker's uploaded log: the output of all its attempts in one file, with a mark where each later one begins."""

import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from os import fstat
from typing import BinaryIO, NamedTuple

BEGINS = b"\n[makerflow: the output of attempt %d begins here]\n"
DROPPED = b"\n[makerflow: %d bytes of output were dropped here; the limit is %d MiB per worker]\n"

_BEGINS = re.compile(re.escape(BEGINS).replace(b"%d", b"([0-9]{1,9})"))
_DROPPED = re.compile(re.escape(DROPPED).replace(b"%d", b"([0-9]{1,15})"))


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
    """Finds in the log what a cluster calls an attempt and a position in its output (`Cluster.position_of`).

    It may lack the end of an attempt, and all of one: those that were killed before they had uploaded it. Marks are
    believed also where an entry point has printed them: it misleads those who read its own output.

    Args:
        file: All of it, open for as long as this is used.
    """

    def __init__(self, file: BinaryIO) -> None:
        size = fstat(file.fileno()).st_size
        self._log = mmap(file.fileno(), size, access=ACCESS_READ) if size else b""

    def offset_of(self, attempt: int, position: int) -> int:
        """Where that byte is in the log; of what it lacks where that would be."""
        for stretch in self._stretches(attempt):
            if position < stretch.position:  # it was dropped
                return stretch.begin
            offset = stretch.begin + position - stretch.position
            if offset < stretch.end:
                return offset
        return stretch.end

    def read(self, attempt: int, position: int, at_most: int) -> tuple[bytes, int]:
        """Whole lines of an attempt's output from a position on, about that many bytes, and the position behind them.

        Nothing new is all that there is. Of a line without an end it is not known whether that is all of it: it is
        left out. A line that is longer than `at_most` is cut.
        """
        for stretch in self._stretches(attempt):
            position = max(position, stretch.position)
            begin = stretch.begin + position - stretch.position
            data = self._log[begin : min(stretch.end, begin + at_most)]
            if end := data.rfind(b"\n") + 1:
                return data[:end], position + end
            if len(data) == at_most:
                return data + b"\n", position + at_most
        return b"", position

    def _stretches(self, attempt: int) -> Iterator[_Stretch]:
        """An attempt's output, in order; an empty one where the log has none of it."""
        begin, end = self._part(attempt)
        position = 0
        for mark in _DROPPED.finditer(self._log, begin, end):
            yield _Stretch(begin, mark.start(), position)
            position += mark.start() - begin + int(mark[1])
            begin = mark.end()
        yield _Stretch(begin, end, position)

    def _part(self, attempt: int) -> tuple[int, int]:
        """Where an attempt's output begins and ends."""
        begin = 0 if attempt == 1 else None
        for mark in _BEGINS.finditer(self._log):
            if int(mark[1]) == attempt:
                begin = mark.end()
            elif int(mark[1]) > attempt:
                return (mark.start() if begin is None else begin), mark.start()
        return (len(self._log) if begin is None else begin), len(self._log)
