"""The log of a sidecar as an API server gives it: it grows, is refused, and breaks."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from blocks.cluster.kubernetes.frames import MARK

LINE = b"x" * 99 + b"\n"


def marked(position: int, what: str = "at") -> bytes:
    return MARK + json.dumps({what: position}).encode() + b"\n"


class SidecarLog:
    """Stands in for `Api` where logs are read.

    Args:
        answers: What the first requests get: a refusal, or after how many bytes the log breaks.

    Attributes:
        follows: Of each request, whether it wanted to follow.
    """

    def __init__(self, *answers: Exception | int) -> None:
        self.answers = deque(answers)
        self.follows: list[bool] = []
        self.open = 0
        self.seconds_until_opened = self.seconds_between_pieces = 0.0
        self.over = self.is_stuck = False
        self._text, self._position = marked(0), 0
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        """As a sidecar does, which gives a line that it cuts an end of its own."""
        with self._changed:
            self._position += len(data)
            self._text += data + (b"" if data.endswith(b"\n") else b"\n") + marked(self._position)
            self._changed.notify_all()

    def tell(self, event: dict[str, Any]) -> None:
        with self._changed:
            self._text += MARK + json.dumps({"event": event}).encode() + b"\n"
            self._changed.notify_all()

    def end(self, *, killed: bool = False) -> None:
        with self._changed:
            self._text += b"" if killed else marked(self._position, "end")
            self.over = True
            self._changed.notify_all()

    def rotate(self) -> None:
        """Lose what is there so far, as a node does that keeps the end of a log only."""
        self._text = marked(self._position)

    @contextmanager
    def stream(self, *_: str, query: dict[str, str], idle_seconds: float) -> Iterator["_Response"]:
        follow = query["follow"] == "true"
        self.follows.append(follow)
        answer = self.answers.popleft() if self.answers else 1 << 40
        time.sleep(self.seconds_until_opened)
        if isinstance(answer, Exception):
            raise answer
        self.open += 1
        try:
            yield _Response(self, answer, follow)
        finally:
            self.open -= 1

    def _piece(self, at: int, size: int, response: "_Response") -> bytes:
        """What follows in it; empty at its end."""
        time.sleep(self.seconds_between_pieces)
        with self._changed:
            self._changed.wait_for(lambda: response.shut or not self._waits(at, response.follow))
            if response.shut or at >= response.breaks_at:
                raise urllib3.exceptions.ProtocolError("broken")
            return self._text[at : min(at + size, response.breaks_at)]

    def _waits(self, at: int, follow: bool) -> bool:
        return self.is_stuck or (follow and not self.over and len(self._text) <= at)


class _Response:
    def __init__(self, log: SidecarLog, breaks_at: int, follow: bool) -> None:
        self._log, self.breaks_at, self.follow, self.shut = log, breaks_at, follow, False

    def stream(self, size: int) -> Iterator[bytes]:
        at = 0
        while piece := self._log._piece(at, size, self):
            at += len(piece)
            yield piece

    def shutdown(self) -> None:
        with self._log._changed:
            self.shut = True
            self._log._changed.notify_all()
