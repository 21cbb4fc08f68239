"""Reads what workers print, from their sidecars' logs."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.exits import is_heard, is_over
from blocks.cluster.kubernetes.frames import cursor_of, place_of
from blocks.cluster.kubernetes.names import Object, life_of, name_of, run_name
from blocks.cluster.kubernetes.progress import newest_pods
from blocks.cluster.kubernetes.settling import Settling
from blocks.cluster.kubernetes.streams import Stream, Streams
from blocks.cluster.kubernetes.view import View
from blocks.cluster.output import Piece, lines_of
from blocks.domain.errors import NotFoundError
from blocks.domain.plan import LogLine, RunHandle

GONE = "[makerflow: the output of attempt {attempt} has gone with its pod; what was uploaded of it is with the logs]\n"
_LINES_BYTES = 1 << 20
_LINES_SECONDS = 0.2


class Reading:
    """The output of all workers of a cluster.

    Args:
        api: Where the logs are.
        view: What is known of the cluster.
        streams: What this process reads.
        settling: Takes the events that come with the output.
    """

    def __init__(self, api: Api, view: View, streams: Streams, settling: Settling) -> None:
        self._api, self._view, self._streams, self._settling = api, view, streams, settling

    def lines(self, handle: RunHandle, rank: int, *, follow: bool, since: int) -> Iterator[LogLine]:
        """A worker's output as `Cluster.logs` promises it."""
        while True:
            record = self._view.record(run_name(handle.run_id))
            over = not follow or record is None or record.is_over
            data, cursor = self.read(handle, rank, since=since, at_most=_LINES_BYTES)
            yield from lines_of(Piece(data, cursor), since, rank)
            since = cursor
            if not data:
                if over:
                    return
                time.sleep(_LINES_SECONDS)

    def read(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> tuple[bytes, int]:
        """A worker's output as `Cluster.read_output` promises it.

        Raises:
            NotFoundError: There is no such run.
        """
        run = run_name(handle.run_id)
        record = self._view.record(run)
        if record is None:
            raise NotFoundError("run", handle.run_id)
        attempt, position = place_of(since)
        while True:
            data, position, ended = self._read(run, rank, attempt, position, at_most)
            if data or not ended or attempt >= record.attempt:
                return data, cursor_of(attempt, position)
            pods = newest_pods(self._view.seen(run).pods_of(attempt))
            missing = position == 0 and bool(record.told("started", attempt)) and rank not in pods
            attempt, position = attempt + 1, 0
            if missing:
                return GONE.format(attempt=attempt - 1).encode(), cursor_of(attempt, 0)

    def listen(self, run: str) -> None:
        """Hear what rank 0's sidecar tells, while the run goes on."""
        record = self._view.record(run)
        if record is None or record.is_over:
            return
        pod = newest_pods(self._view.seen(run).pods_of(record.attempt)).get(0)
        if pod and is_heard(pod) and not is_over(pod):
            silently = lambda: self._stream(run, 0, record.attempt, pod, 0, silent=True)  # noqa: E731 - read once
            self._streams.listen(run, 0, name_of(pod), silently)

    def _read(self, run: str, rank: int, attempt: int, position: int, at_most: int) -> tuple[bytes, int, bool]:
        """What there is of one attempt's output, and whether there is no more to come."""
        seen, record = self._view.seen(run), self._view.record(run)
        pod = newest_pods(seen.pods_of(attempt)).get(rank)
        if pod is None:
            return b"", position, record is None or record.is_over or record.attempt > attempt
        if not is_heard(pod):
            return b"", position, is_over(pod)
        open_at: Callable[[int], Stream] = lambda at: self._stream(run, rank, attempt, pod, at)  # noqa: E731 - read once
        read = self._streams.read(run, rank, name_of(pod), position, at_most, open_at)
        return read.data, read.position, read.ended

    def _stream(self, run: str, rank: int, attempt: int, pod: Object, position: int, *, silent: bool = False) -> Stream:
        def told(frame: dict[str, Any]) -> None:
            self._settling.tell(run, (life_of(pod), attempt, rank), frame)

        def over() -> bool:
            now = [p for p in self._view.seen(run).pods if name_of(p) == name_of(pod)]
            return not now or is_over(now[0])

        return Stream(self._api, name_of(pod), position, told, over, silent=silent)
