"""Follows what sidecars print: one connection for each worker whose output somebody reads, and none for the others.

Who reads is a thread. Those who read the same output share a connection until one of them is far ahead of another.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import urllib3

from blocks.cluster.kubernetes.api import RETRY_SECONDS, Api, ApiError
from blocks.cluster.kubernetes.frames import Frames, Piece
from blocks.cluster.kubernetes.manifests import SYNC
from blocks.domain.errors import ClusterUnavailableError

BUFFER_BYTES = 8 << 20
"""Of output that somebody has not read yet."""

KEPT_BYTES = 1 << 20
"""Of output that all who read it have read: somebody else may be a little behind."""

CHUNK_BYTES = 1 << 16
FIRST_SECONDS = 30.0
"""How long whoever begins to read waits for what was there already."""

FIRST_REFUSED_SECONDS = 5.0
"""The same where the log is refused: its node may be away for long."""

LAST_SECONDS = 30.0
"""How long whoever reads waits for more when the worker is over, and so all is there."""

IDLE_SECONDS = 120.0
SILENT_SECONDS = 900.0
"""A connection that has told nothing for so long may be dead: it is made anew."""

PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.3, 3.0
LAST_LOOKS = 5
"""How often the log of a sidecar that is over is read that breaks off before the end which the sidecar marks: on a node
that has much to do it may come late, or break; the log of one that was killed has no such end."""


Told = Callable[[dict[str, Any]], None]

logger = logging.getLogger("makerflow")


class Read(NamedTuple):
    """What there is from a position on.

    Attributes:
        data: Whole lines.
        position: Behind them.
        is_note: Whether it is not output, but says how much is missing up to there.
        ended: Whether there is no more.
        cut: Whether there was or may have been more up to there, or behind it where it has ended, that nobody can read
            any more.
    """

    data: bytes
    position: int
    is_note: bool = False
    ended: bool = False
    cut: bool = False


class _Piece(NamedTuple):
    """What lies between two positions; a note of what is missing is not as long as what it stands for."""

    begin: int
    end: int
    data: bytes
    is_note: bool
    is_lost: bool = False


class Stream:
    """The output of one worker's attempt from a position on, for the threads that read it.

    What all of them have read is kept for a while; what one of them has not read bounds what is taken.

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
        self.pod = pod
        self.silent = silent
        self._api, self._over, self._told = api, over, told
        self._frames = Frames(position, told)
        self._pieces: deque[_Piece] = deque()
        self._begin = self._end = position
        self._readers: dict[int, int] = {}  # thread to position
        self._skipped = 0
        self._seen = silent  # whether all is taken that was there at the beginning
        self._ended = self._cut = self._closed = False
        self._refused: tuple[float, Exception] | None = None  # since when, without an answer, and what was said last
        self._response: urllib3.HTTPResponse | None = None
        self._changed = threading.Condition()
        self._opened = time.monotonic()
        threading.Thread(target=self._run, name=f"log of {pod}", daemon=True).start()

    def serves(self, position: int) -> bool:
        """Whether this thread has read here up to there."""
        with self._changed:
            return self._readers.get(threading.get_ident()) == position

    def admits(self, position: int) -> bool:
        """Whether this thread can read from there; what follows is kept for it then."""
        with self._changed:
            waits_for_others = position == self._end and not self._ended and self._is_full()
            if self.silent or waits_for_others or not self._begin <= position <= self._end:
                return False
            self._readers[threading.get_ident()] = position
            return True

    def read(self, position: int, at_most: int, most_seconds: float = math.inf) -> Read | None:
        """Whole lines from where this thread was admitted, about that much; None when somebody closed it meanwhile.

        Args:
            position: Where this thread was admitted.
            at_most: About so many bytes.
            most_seconds: No longer is waited for what should be there.

        Raises:
            ClusterUnavailableError: The worker is over, and the rest of its log is not to be had now.
        """
        with self._changed:
            self.used = time.monotonic()
            over = self._over()
            self._wait(position, at_most, over, most_seconds)
            found = self._from(position, at_most)
            self._readers[threading.get_ident()] = found.position
            self._forget()
            self._changed.notify_all()
            if self._ended and not found.data:
                return found._replace(ended=True, cut=self._cut)
            if self._closed and not found.data:
                return None
        if over and not found.data:
            self._hang_up()
            why = f": {self._refused[1]}" if self._refused else ""
            raise ClusterUnavailableError(f"the rest of the log of {self.pod} is not to be had{why}")
        return found

    def leave(self) -> bool:
        """This thread reads here no more; whether it is closed, as no other one does."""
        with self._changed:
            self._readers.pop(threading.get_ident(), None)
            if self._readers:
                return False
        self.close()
        return True

    def close(self) -> None:
        """Let go of the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._hang_up()

    def _hang_up(self) -> None:
        response = self._response
        if response is not None:
            with suppress(Exception):  # it may have ended meanwhile
                response.shutdown()

    def _wait(self, position: int, at_most: int, over: bool, most_seconds: float) -> None:
        """For what is there already: all of it, once the worker is over. What comes later nobody waits for."""
        least = at_most if over else 1
        patience, refused = min(LAST_SECONDS, most_seconds), RETRY_SECONDS
        if not over:
            first = min(FIRST_SECONDS, most_seconds)
            patience, refused = self._opened + first - self.used, FIRST_REFUSED_SECONDS

        def decided() -> bool:
            has_enough = self._end - position >= least or (self._end > position and self._is_full())
            known = has_enough or self._ended or self._closed or (self._seen and not over)
            return known or self._refused_seconds() > refused

        self._changed.wait_for(decided, max(0.0, patience))

    def _refused_seconds(self) -> float:
        return time.monotonic() - self._refused[0] if self._refused else 0.0

    def _from(self, position: int, at_most: int) -> Read:
        found: list[bytes] = []
        for piece in self._pieces:
            if piece.end <= position:
                continue
            if piece.is_note:
                if found:
                    break
                return Read(piece.data, piece.end, is_note=True, cut=piece.is_lost)
            data = piece.data[position - piece.begin :]
            if len(data) > at_most:
                part = _whole_lines(data, at_most) if not found else data[: data.rfind(b"\n", 0, at_most) + 1]
                return Read(b"".join([*found, part]), position + len(part))
            found.append(data)
            position, at_most = piece.end, at_most - len(data)
            if len(piece.data) != piece.end - piece.begin:
                break  # its last line's end is ours: only the last line of what is read may have such a one
        return Read(b"".join(found), position)

    def _slowest(self) -> int:
        return min(self._readers.values(), default=self._begin)

    def _is_full(self) -> bool:
        return self._end - self._slowest() >= BUFFER_BYTES

    def _forget(self) -> None:
        unwanted = self._slowest() if self._ended else min(self._slowest(), max(self._readers.values()) - KEPT_BYTES)
        while self._pieces and self._pieces[0].end <= unwanted:
            self._begin = self._pieces.popleft().end

    def _run(self) -> None:
        looks, pause = 0, PAUSE_SECONDS
        while not self._closed:
            over, error = self._over(), self._look()
            refusal = error.status if isinstance(error, ApiError) else 0
            looks += over and (error is None or refusal == 400)  # of a container that its node has forgotten
            if self._frames.ended or looks >= LAST_LOOKS or (over and refusal == 404):
                break
            pause = min(2 * pause, MOST_PAUSE_SECONDS) if error else PAUSE_SECONDS
            self._rest(error, pause)
            self._frames, self._skipped = Frames(self._frames.position, self._told), 0
        with self._changed:
            self._ended, self._cut = not self._closed, not self._frames.ended
            self._changed.notify_all()

    def _rest(self, error: Exception | None, pause: float) -> None:
        with self._changed:
            is_first, self._seen = not self._seen, self._seen or error is None
            if error:
                self._refused = (self._refused[0] if self._refused else time.monotonic(), error)
            self._changed.notify_all()
            if error or not is_first:
                self._changed.wait_for(lambda: self._closed, pause)

    def _look(self) -> Exception | None:
        """Take the log, at first as it is and then as it grows; what stood in the way."""
        follow = self._seen or self._over()
        query: Mapping[str, str] = {"container": SYNC, "follow": str(follow).lower()}
        idle = SILENT_SECONDS if self._seen else LAST_SECONDS
        try:
            with self._api.stream("pods", self.pod, "log", query=query, idle_seconds=idle) as response:
                with self._changed:
                    self._response, self._refused = response, None
                    if self._closed:
                        return None
                for data in response.stream(CHUNK_BYTES):
                    self._put(self._frames.take(data))
                    if self._closed or self._frames.ended:
                        return None
        except Exception as error:  # the thread must live: it looks again, and who reads to the end hears of it
            logger.debug("The log of %s broke: %s", self.pod, error)
            return error
        return None

    def _put(self, pieces: Sequence[Piece]) -> None:
        lost, self._skipped = self._frames.skipped - self._skipped, self._frames.skipped
        if self.silent or not (pieces or lost):
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._is_full())
            if lost:
                note = f"[makerflow: {lost} bytes of output are missing here: the node has kept the end of the log]\n"
                self._add(Piece(note.encode(), self._end + lost, is_note=True), is_lost=True)
            for piece in pieces:
                self._add(piece)
            self._changed.notify_all()

    def _add(self, piece: Piece, *, is_lost: bool = False) -> None:
        self._pieces.append(_Piece(self._end, piece.end, piece.data, piece.is_note, is_lost))
        self._end = piece.end


def _whole_lines(data: bytes, at_most: int) -> bytes:
    """As many as fit; of a line that is longer as much as fits."""
    return data[: data.rfind(b"\n", 0, at_most) + 1 or at_most]


class Streams:
    """The streams of this process.

    Attributes:
        refused: Run, rank and attempt of a worker whose log is not to be had, to since when (by `time.monotonic`).
    """

    def __init__(self) -> None:
        self.refused: dict[tuple[str, int, int], float] = {}
        self._streams: dict[tuple[str, int], list[Stream]] = {}
        self._lock = threading.Lock()

    def read(
        self,
        run: str,
        rank: int,
        pod: str,
        position: int,
        at_most: int,
        open_at: Callable[[int], Stream],
        most_seconds: float = math.inf,
    ) -> Read:
        """Read on from a position, as `Stream.read` does.

        Raises:
            ClusterUnavailableError: The worker is over, and the rest of its log is not to be had now.
        """
        while True:
            with self._lock:
                self._close_idle()
                stream = self._stream_at((run, rank), pod, position, open_at)
            found = stream.read(position, at_most, most_seconds)
            if found is not None:
                return found

    def listen(self, run: str, rank: int, pod: str, open_silently: Callable[[], Stream]) -> None:
        """Hear of a sidecar's events also when nobody reads its worker's output."""
        with self._lock:
            self._close_idle()
            known = self._streams.setdefault((run, rank), [])
            for stream in [stream for stream in known if stream.silent]:
                stream.used = time.monotonic()
                if stream.pod != pod:
                    stream.close()
                    known.remove(stream)
            if not any(stream.pod == pod for stream in known):
                known.append(open_silently())

    def close(self, run: str) -> None:
        """Let go of a run's streams."""
        with self._lock:
            for key in [key for key in self._streams if key[0] == run]:
                for stream in self._streams.pop(key):
                    stream.close()

    def _stream_at(self, key: tuple[str, int], pod: str, position: int, open_at: Callable[[int], Stream]) -> Stream:
        """This thread's own, else one that it can share, else a new one; the others it reads no more."""
        known = self._streams.get(key, [])
        shared = sorted(known, key=lambda stream: stream.serves(position), reverse=True)
        chosen = next((stream for stream in shared if stream.pod == pod and stream.admits(position)), None)
        if chosen is None:
            chosen = open_at(position)
            chosen.admits(position)
        self._streams[key] = [chosen, *(stream for stream in known if stream is not chosen and not stream.leave())]
        return chosen

    def _close_idle(self) -> None:
        now = time.monotonic()
        for key, known in list(self._streams.items()):
            for stream in [stream for stream in known if now - stream.used > IDLE_SECONDS]:
                stream.close()
                known.remove(stream)
            if not known:
                del self._streams[key]
