"""Follows what sidecars print: one connection for each worker whose output somebody reads, and none for the others."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import urllib3

from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.frames import Frames
from blocks.cluster.kubernetes.manifests import SYNC
from blocks.domain.errors import ClusterUnavailableError

BUFFER_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16
FIRST_SECONDS = 1.0
"""How long whoever begins to read waits for what is there already."""

LAST_SECONDS = 30.0
"""The same when the worker is over, and so all is there."""

IDLE_SECONDS = 120.0
PAUSE_SECONDS = 0.3

Told = Callable[[dict[str, Any]], None]

logger = logging.getLogger("makerflow")


class Stream:
    """The output of one worker's attempt from a position on.

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
        self.position = position
        self.used = time.monotonic()
        self._api, self._pod, self._over = api, pod, over
        self.silent, self._told = silent, told
        self._frames = Frames(position, told)
        self._buffer: list[tuple[bytes, int, int]] = []
        self._skipped = 0
        self._ended = self._closed = False
        self._response: urllib3.HTTPResponse | None = None
        self._changed = threading.Condition()
        self._opened = time.monotonic()
        threading.Thread(target=self._run, name=f"log of {pod}", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether all that there is to read has been read."""
        with self._changed:
            return self._ended and not self._buffer

    def read(self, at_most: int) -> tuple[bytes, int]:
        """Whole lines, about that much, and the position behind them; nothing when there is nothing new."""
        self.used = time.monotonic()
        with self._changed:
            patience = LAST_SECONDS if self._over() else max(0.0, self._opened + FIRST_SECONDS - self.used)
            self._changed.wait_for(lambda: self._buffer or self._ended or self._closed, patience)
            if not self._buffer:
                return b"", self.position
            data, begin, end = self._buffer.pop(0)
            text, rest = _cut(data, at_most)
            if rest:
                # What a mark stands for, and a last line that lacks its end, are not as long as their text.
                self._buffer.insert(0, (rest, begin + len(text), end))
            self.position = begin + len(text) if rest else end
            self._changed.notify_all()
            return text, self.position

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            response = self._response
        if response is not None:
            with suppress(Exception):  # it may have ended meanwhile
                response.shutdown()

    def _run(self) -> None:
        while not self._closed:
            over = self._over()
            self._take_all()
            if self._frames.ended or over:
                break
            time.sleep(PAUSE_SECONDS)
            self._frames = Frames(self._frames.position, self._told)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take_all(self) -> None:
        query: Mapping[str, str] = {"container": SYNC, "follow": "true"}
        try:
            with self._api.stream("pods", self._pod, "log", query=query) as response:
                self._response = response
                for piece in response.stream(CHUNK_BYTES):
                    self._put(self._frames.take(piece))
                    if self._closed or self._frames.ended:
                        return
        except (ApiError, ClusterUnavailableError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            logger.debug("The log of %s broke: %s", self._pod, error)

    def _put(self, data: bytes) -> None:
        if not data or self.silent:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed or sum(len(d) for d, _, _ in self._buffer) < BUFFER_BYTES)
            begin = self._buffer[-1][2] if self._buffer else self.position
            lost, self._skipped = self._frames.skipped - self._skipped, self._frames.skipped
            if lost:
                mark = f"[makerflow: {lost} bytes of output are missing here: the node has kept the end of the log]\n"
                self._buffer.append((mark.encode(), begin, begin + lost))
                begin += lost
            self._buffer.append((data, begin, self._frames.position))
            self._changed.notify_all()


def _cut(data: bytes, at_most: int) -> tuple[bytes, bytes]:
    """As many whole lines as fit; of a line that is longer as much as fits."""
    if len(data) <= at_most:
        return data, b""
    end = data.rfind(b"\n", 0, at_most) + 1
    return (data[:end], data[end:]) if end else (data[:at_most], data[at_most:])


class Streams:
    """The streams of this process."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, int], tuple[str, Stream]] = {}
        self._lock = threading.Lock()

    def read(
        self, run: str, rank: int, pod: str, position: int, at_most: int, open_at: Callable[[int], Stream]
    ) -> tuple[bytes, int, bool]:
        """Go on reading where somebody was; what there is, the position behind it, and whether there is no more."""
        key = (run, rank)
        with self._lock:
            self._close_idle()
            known = self._streams.get(key)
            if known is None or known[0] != pod or known[1].position != position or known[1].silent:
                if known:
                    known[1].close()
                known = self._streams[key] = (pod, open_at(position))
            stream = known[1]
        data, behind = stream.read(at_most)
        return data, behind, stream.ended

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
