"""Read the output of one worker, which its supervisor keeps as segments named by their offset in the whole stream.

The cursor is a byte offset in that stream, which never starts over: not with an attempt, not with an agent. Where the
supervisor dropped a segment for the sake of the limit, the reader puts one line that says how much is missing.
"""

import errno
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blocks.cluster.uploaded_log import DROPPED
from blocks.domain.plan import LogLine

LINE_BYTES = 64 * 1024
"""A longer line is cut into pieces of this."""

_SEGMENT = re.compile(r"[0-9]{20}\.log")


@dataclass(frozen=True)
class Piece:
    """Whole lines of output.

    Attributes:
        data: Ends with a line end, unless it is empty.
        cursor: Where to go on.
        mark: It is not output, but the line that stands for what was dropped.
    """

    data: bytes
    cursor: int
    mark: bool = False


@dataclass(frozen=True)
class Output:
    """One worker's output on disk.

    Args:
        directory: Of its segments; it need not exist yet.
        limit_mib: What is kept, for the mark.
        is_over: Whether nothing more can be written: then a last line without its end is a line.
    """

    directory: Path
    limit_mib: int
    is_over: Callable[[], bool]

    def read(self, since: int, at_most: int) -> Piece:
        """What is there from `since` on, at most that many bytes; empty when there is no whole line yet.

        A line of more than `at_most` bytes is cut.
        """
        piece, rest = self._read(since, at_most)
        if not piece.data and rest and self.is_over():
            piece, rest = self._read(since, at_most)  # what came before the end, but after the first look
            return piece if piece.data else Piece(rest + b"\n", since + len(rest))
        return piece

    def _read(self, since: int, at_most: int) -> tuple[Piece, bytes]:
        """The next whole lines, and, when there are none, the beginning of the line to come."""
        while True:
            offsets = segments(self.directory)
            try:
                data, following = self._stretch(offsets, since, at_most)
            except FileNotFoundError:
                continue  # dropped after it was listed
            break
        if not data and following is not None:
            return self._mark(since, following), b""
        if end := data.rfind(b"\n") + 1:
            return Piece(data[:end], since + end), b""
        if data and (len(data) >= at_most or following is not None):
            return Piece(data + b"\n", since + len(data)), b""
        return Piece(b"", since), data

    def _stretch(self, offsets: list[int], since: int, at_most: int) -> tuple[bytes, int | None]:
        """The bytes from `since` to a gap, the end or the limit, and where it goes on behind the gap."""
        pieces: list[bytes] = []
        at = since
        for offset in offsets[max(bisect_right(offsets, since) - 1, 0) :]:
            if at < offset:
                return b"".join(pieces), offset
            pieces.append(self._pread(offset, at - offset, since + at_most - at))
            at += len(pieces[-1])
            if at - since >= at_most:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), None

    def _pread(self, segment: int, position: int, size: int) -> bytes:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(segment_file(self.directory, segment), flags)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise FileNotFoundError(errno.ENOENT, "an entry point put a link there") from error
        try:
            return os.pread(descriptor, size, position)
        finally:
            os.close(descriptor)

    def _mark(self, since: int, following: int) -> Piece:
        text = DROPPED % (following - since, self.limit_mib)
        return Piece(text.lstrip(b"\n"), following, mark=True)


def segments(directory: Path) -> list[int]:
    """The offsets of the segments in a directory, in which an entry point may have put other files, and links."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        found = [each.name for each in entries if _SEGMENT.fullmatch(each.name) and each.is_file(follow_symlinks=False)]
        return sorted(int(name[:-4]) for name in found)
    return []


def segment_file(directory: Path, offset: int) -> Path:
    """Where the segment of an offset lies."""
    return directory / f"{offset:020d}.log"


def end_of_output(directory: Path) -> int:
    """How many bytes were printed so far, by the segments in a directory; 0 also where they cannot be read."""
    try:
        last = segments(directory)[-1]
        return last + segment_file(directory, last).stat().st_size
    except (OSError, IndexError):
        return 0


def lines_of(piece: Piece, since: int, rank: int) -> Iterator[LogLine]:
    """The lines of a piece that was read from `since` on."""
    if not piece.data:
        return
    if piece.mark:
        yield LogLine(rank=rank, text=piece.data[:-1].decode(), cursor=piece.cursor)
        return
    at = since
    for line in piece.data[:-1].split(b"\n"):
        *beginning, last = _cut(line)
        for part in beginning:
            at += len(part)
            yield LogLine(rank=rank, text=part.decode(errors="replace"), cursor=at)
        at = min(at + len(last) + 1, piece.cursor)  # the last line's end may be ours, not the stream's
        yield LogLine(rank=rank, text=last.decode(errors="replace"), cursor=at)


def _cut(line: bytes) -> list[bytes]:
    """Pieces of at most `LINE_BYTES`, none of which ends within a character."""
    parts = []
    while len(line) > LINE_BYTES:
        end = LINE_BYTES
        while end > LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(line[:end])
        line = line[end:]
    return [*parts, line]
