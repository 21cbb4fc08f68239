"""Follows what sidecars print: one connection for each worker whose output somebody reads, and none for the others."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import urllib3

from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.frames import Frames, Piece
from blocks.cluster.kubernetes.manifests import SYNC
from blocks.domain.errors import ClusterUnavailableError

BUFFER_BYTES = 8 << 20
"""Of output that nobody has read yet."""

KEPT_BYTES = 1 << 20
"""Of output that somebody has read."""

CHUNK_BYTES = 1 << 16
FIRST_SECONDS = 1.0
"""How long whoever begins to read waits for what is there already."""

LAST_SECONDS = 30.0
"""The same when the worker is over, and so all is there."""

IDLE_SECONDS = 120.0
SILENT_SECONDS = 900.0
"""A connection that has told nothing for so long may be dead: it is made anew."""

PAUSE_SECONDS = 0.3
LAST_LOOKS = 5
"""How often the log of a sidecar that is over is read that breaks off before the end which the sidecar marks: on a node
that has much to do it may come late, or break; the log of one that was killed has no such end."""


Told = Callable[[dict[str, Any]], None]

logger = logging.getLogger("makerflow")


class _Piece(NamedTuple):
    """What lies between two positions; a note of what is missing is not as long as what it stands for."""

    begin: int
    end: int
    data: bytes
    is_note: bool


class Stream:
    """The output of one worker's attempt from a position on, for whoever reads it.

    What has been read is kept for a while, as others may be a little behind; what nobody has read bounds what is taken.

    Args:
        api: Where the log is.
        pod: Whose.
        position: Output before it is left out.
        told: Called with each event of the sidecar.
        over: Whether the pod prints no more.
        silent: Whether only events are wanted.
    """

    def __init__(
        self, api: Api, pod: str, position: int, told: Told, over: Callable[[], bool], *, silent: bool = False
    ) -> None:
        self.used = time.monotonic()
        self.silent = silent
        self._api, self._pod, self._over, self._told = api, pod, over, told
        self._frames = Frames(position, told)
        self._pieces: deque[_Piece] = deque()
        self._begin = self._end = self._read = position
        self._skipped = 0
        self._ended = self._closed = False
        self._response: urllib3.HTTPResponse | None = None
        self._changed = threading.Condition()
        self._opened = time.monotonic()
        threading.Thread(target=self._run, name=f"log of {pod}", daemon=True).start()

    def holds(self, position: int) -> bool:
        """Whether it can be read from there."""
        with self._changed:
            return not self.silent and self._begin <= position <= self._end

    def read(self, position: int, at_most: int) -> tuple[bytes, int, bool]:
        """Whole lines, about that much, the position behind them, and whether there is no more."""
        self.used = time.monotonic()
        with self._changed:
            patience = LAST_SECONDS if self._over() else max(0.0, self._opened + FIRST_SECONDS - self.used)
            self._changed.wait_for(lambda: self._end > position or self._ended or self._closed, patience)
            data, position = self._from(position, at_most)
            self._read = max(self._read, position)
            self._forget()
            self._changed.notify_all()
            return data, position, self._ended and position >= self._end

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            response = self._response
        if response is not None:
            with suppress(Exception):  # it may have ended meanwhile
                response.shutdown()

    def _from(self, position: int, at_most: int) -> tuple[bytes, int]:
        found: list[bytes] = []
        for piece in self._pieces:
            if piece.end <= position:
                continue
            if piece.is_note and found:
                break
            data = piece.data if piece.is_note else piece.data[position - piece.begin :]
            if piece.is_note:
                return data, piece.end
            if len(data) > at_most:
                part = _whole_lines(data, at_most) if not found else data[: data.rfind(b"\n", 0, at_most) + 1]
                return b"".join([*found, part]), position + len(part)
            found.append(data)
            position, at_most = piece.end, at_most - len(data)
        return b"".join(found), position

    def _forget(self) -> None:
        while self._pieces and self._pieces[0].end < self._read - KEPT_BYTES:
            self._begin = self._pieces.popleft().end

    def _run(self) -> None:
        last_looks = 0
        while not self._closed:
            last_looks += self._over()
            self._take_all()
            if self._frames.ended or last_looks >= LAST_LOOKS:
                break
            time.sleep(PAUSE_SECONDS)
            self._frames, self._skipped = Frames(self._frames.position, self._told), 0
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take_all(self) -> None:
        query: Mapping[str, str] = {"container": SYNC, "follow": "true"}
        try:
            with self._api.stream("pods", self._pod, "log", query=query, idle_seconds=SILENT_SECONDS) as response:
                self._response = response
                for data in response.stream(CHUNK_BYTES):
                    self._put(self._frames.take(data))
                    if self._closed or self._frames.ended:
                        return
        except (ApiError, ClusterUnavailableError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            logger.debug("The log of %s broke: %s", self._pod, error)

    def _put(self, pieces: Sequence[Piece]) -> None:
        lost, self._skipped = self._frames.skipped - self._skipped, self._frames.skipped
        if self.silent or not (pieces or lost):
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._end - self._read < BUFFER_BYTES)
            if lost:
                note = f"[makerflow: {lost} bytes of output are missing here: the node has kept the end of the log]\n"
                self._add(Piece(note.encode(), self._end + lost, is_note=True))
            for piece in pieces:
                self._add(piece)
            self._changed.notify_all()

    def _add(self, piece: Piece) -> None:
        self._pieces.append(_Piece(self._end, piece.end, piece.data, piece.is_note))
        self._end = piece.end


def _whole_lines(data: bytes, at_most: int) -> bytes:
    """As many as fit; of a line that is longer as much as fits."""
    return data[: data.rfind(b"\n", 0, at_most) + 1 or at_most]


class Streams:
    """The streams of this process."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, int], tuple[str, Stream]] = {}
        self._lock = threading.Lock()

    def read(
        self, run: str, rank: int, pod: str, position: int, at_most: int, open_at: Callable[[int], Stream]
    ) -> tuple[bytes, int, bool]:
        """Read on from a position; what there is, the position behind it, and whether there is no more."""
        key = (run, rank)
        with self._lock:
            self._close_idle()
            known = self._streams.get(key)
            if known is None or known[0] != pod or not known[1].holds(position):
                if known:
                    known[1].close()
                known = self._streams[key] = (pod, open_at(position))
            stream = known[1]
        return stream.read(position, at_most)

    def listen(self, run: str, rank: int, pod: str, open_silently: Callable[[], Stream]) -> None:
        """Hear of a sidecar's events also when nobody reads its worker's output."""
        with self._lock:
            known = self._streams.get((run, rank))
            if known is None or (known[0] != pod and known[1].silent):
                self._streams[run, rank] = (pod, open_silently())
            elif known[1].silent:
                known[1].used = time.monotonic()

    def close(self, run: str) -> None:
        """Let go of a run's streams."""
        with self._lock:
            for key in [key for key in self._streams if key[0] == run]:
                self._streams.pop(key)[1].close()

    def _close_idle(self) -> None:
        now = time.monotonic()
        for key in [key for key, (_, s) in self._streams.items() if now - s.used > IDLE_SECONDS]:
            self._streams.pop(key)[1].close()
