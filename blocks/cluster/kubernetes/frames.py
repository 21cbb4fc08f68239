"""Reads what a sidecar prints (`blocks.launcher.pod_stream`): a worker's output, and events between its lines."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

MARK = b"\x1e"

MOST_BYTES = 1 << 40
"""Of the output of one attempt: attempt and position make one number, by which anybody can go on reading."""


def cursor_of(attempt: int, position: int) -> int:
    """The number of a byte of an attempt's output."""
    return (attempt - 1) * MOST_BYTES + position


def place_of(cursor: int) -> tuple[int, int]:
    """The attempt and the position that a cursor stands for."""
    attempt, position = divmod(cursor, MOST_BYTES)
    return attempt + 1, position


class Piece(NamedTuple):
    """Output up to a position.

    Attributes:
        data: Whole lines; the last one's end is ours where the output has none there.
        end: The position behind it.
        is_note: Whether it is not output, but says how much is missing up to there.
    """

    data: bytes
    end: int
    is_note: bool = False


class Frames:
    """Takes what was printed, piece by piece.

    Args:
        since: Output before this position is left out.
        told: Called with each event.

    Attributes:
        position: Behind the last output that was given.
        ended: Whether the sidecar said that there is no more.
        skipped: Bytes of output that are not there any more, as a node keeps the end of a log only.
    """

    def __init__(self, since: int, told: Callable[[dict[str, Any]], None]) -> None:
        self.position = since
        self.ended = False
        self.skipped = 0
        self._told = told
        self._rest = b""
        self._begin: int | None = None  # of the lines that no mark has followed yet; unknown before the first mark
        self._lines: list[bytes] = []
        self._is_note = False

    def take(self, data: bytes) -> list[Piece]:
        """The new output in it, each piece of which ends where a mark says."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            if text := self._line(line):
                found.append(Piece(text, self.position, self._is_note))
        return found

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(MARK):
            self._lines.append(line)
            return b""
        try:
            document = json.loads(line[1:])
        except (ValueError, RecursionError):
            return b""
        if not isinstance(document, dict):
            return b""
        if "event" in document:  # an entry point can write where the sidecar reads its events, also what is none
            if isinstance(document["event"], dict):
                self._told(document["event"])
        elif not _is_position(document.get("at", document.get("end", 0))):
            return b""
        elif isinstance(text := document.get("line"), str):
            self._lines.append(_bytes_of(text))
        elif "at" in document:
            return self._mark(document["at"])
        elif "end" in document:
            self.ended = True
            return self._mark(document["end"])
        return b""

    def _mark(self, end: int) -> bytes:
        """What of the lines before a mark is new: all of it, unless `since`, or what was lost, lies between."""
        begin, text = self._begin, b"".join(line + b"\n" for line in self._lines)
        self._begin, self._lines = end, []
        if begin is None:
            if end > self.position:
                self.skipped, self.position = self.skipped + end - self.position, end
            return b""
        if end <= self.position:
            return b""
        known, self.position = max(self.position - begin, 0), end
        self._is_note = not 0 <= len(text) - (end - begin) <= 1  # it says what the supervisor has dropped
        return text if self._is_note else text[known:]


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no sidecar of ours has printed it
        return text.encode("utf-8", "replace")


def _is_position(number: object) -> bool:
    return type(number) is int and 0 <= number < MOST_BYTES
