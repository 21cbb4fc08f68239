"""Reads what workers print, from their sidecars' logs."""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from blocks.cluster.base import OutputRead
from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.conditions import condition_of, has_condition
from blocks.cluster.kubernetes.exits import is_heard, is_lost, is_over
from blocks.cluster.kubernetes.failures import LASTING_SECONDS
from blocks.cluster.kubernetes.frames import cursor_of, place_of
from blocks.cluster.kubernetes.names import Object, life_of, name_of, run_name
from blocks.cluster.kubernetes.progress import newest_pods
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.settling import Settling
from blocks.cluster.kubernetes.streams import Read, Stream, Streams
from blocks.cluster.kubernetes.view import PODS, Seen, View
from blocks.cluster.output import Piece, lines_of
from blocks.domain.errors import ClusterUnavailableError, NotFoundError
from blocks.domain.plan import ExitCause, LogLine, RunHandle

_ELSEWHERE = "what was uploaded of it is in the log at the output]\n"
GONE = "[makerflow: the output of attempt {attempt} has gone with its pod; " + _ELSEWHERE
CUT = "[makerflow: the end of the output of attempt {attempt} may be missing here; " + _ELSEWHERE
SILENT_NODE_SECONDS = 1.0
"""How long whoever reads waits for a log where its node is silent: it may be that only the API server is not told."""

_LINES_BYTES = 1 << 20
_LINES_SECONDS = 0.2


class _Found(NamedTuple):
    """What follows a cursor.

    Attributes:
        data: Whole lines.
        cursor: Behind them.
        is_note: Whether it is not output, but says what is missing of it.
        cut_at: As `OutputRead` has it.
        is_last: Whether no attempt follows the one whose output breaks off.
    """

    data: bytes
    cursor: int
    is_note: bool = False
    cut_at: int | None = None
    is_last: bool = False


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
        """A worker's output as `Cluster.logs` promises it.

        The cursor of a note that the rest of the last attempt is missing is where that is missing: from there on the
        uploaded log has it.
        """
        while True:
            record = self._view.record(run_name(handle.run_id))
            over = not follow or record is None or record.is_over
            found = self._next(handle, rank, since, _LINES_BYTES)
            if found.is_note:
                cursor = found.cut_at if found.is_last and found.cut_at is not None else found.cursor
                text = found.data[:-1].decode(errors="replace")
                yield LogLine(rank=rank, text=text, cursor=cursor, is_note=True)
            else:
                yield from lines_of(Piece(found.data, found.cursor), since, rank)
            if found.cursor != since:
                since = found.cursor
            elif over:
                return
            else:
                time.sleep(_LINES_SECONDS)

    def read(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        """A worker's output as `Cluster.read_output` promises it: nothing new is all there is once the run is over.

        Raises:
            NotFoundError: There is no such run.
            ClusterUnavailableError: There is more, which cannot be had now.
        """
        found = self._next(handle, rank, since, at_most)
        return OutputRead(found.data, found.cursor, found.cut_at)

    def listen(self, run: str) -> None:
        """Hear what rank 0's sidecar tells, while the run goes on."""
        record = self._view.record(run)
        if record is None or record.is_over:
            return
        pod = newest_pods(self._view.seen(run).pods_of(record.attempt)).get(0)
        if pod and is_heard(pod) and not is_over(pod):
            silently = lambda: self._stream(run, 0, record.attempt, pod, 0, silent=True)  # noqa: E731 - read once
            self._streams.listen(run, 0, name_of(pod), silently)

    def _next(self, handle: RunHandle, rank: int, since: int, at_most: int) -> _Found:
        run = run_name(handle.run_id)
        record = self._view.record(run)
        if record is None:
            raise NotFoundError("run", handle.run_id)
        attempt, position = place_of(since)
        while True:
            read = self._read(run, rank, attempt, position, at_most)
            here, is_last = cursor_of(attempt, position), attempt >= record.attempt
            if read.cut and read.ended and (read.position or _was_made(record, attempt, rank)):
                if not _is_settled(record, attempt, rank):
                    return _Found(b"", here)
                is_known = read.position or record.told("started", attempt)  # else it may not have printed anything
                note = (CUT if read.position else GONE).format(attempt=attempt) if is_known else ""
                next_one = cursor_of(attempt + 1, 0)
                return _Found(note.encode(), next_one, is_note=bool(note), cut_at=here, is_last=is_last)
            if not read.ended or is_last:
                until, is_gap = cursor_of(attempt, read.position), read.cut and not read.ended
                return _Found(read.data, until, is_note=read.is_note, cut_at=here if is_gap else None)
            attempt, position = attempt + 1, 0

    def _read(self, run: str, rank: int, attempt: int, position: int, at_most: int) -> Read:
        """What there is of one attempt's output."""
        pod = _pod_of(self._view.seen(run), rank, attempt)
        if pod is None or not is_heard(pod):
            ended = self._is_concluded(run, attempt) or (pod is not None and is_over(pod))
            return Read(b"", position, ended=ended, cut=ended)
        open_at: Callable[[int], Stream] = lambda at: self._stream(run, rank, attempt, pod, at)  # noqa: E731 - read once
        began, output = time.monotonic(), (run, rank, attempt)
        try:
            most_seconds = self._most_seconds(run, attempt, pod)
            found = self._streams.read(run, rank, name_of(pod), position, at_most, open_at, most_seconds)
        except ClusterUnavailableError:
            since = self._streams.refused.setdefault(output, began)
            is_lasting = time.monotonic() - since >= LASTING_SECONDS
            if _is_answered(pod) and not (is_lasting and self._is_unreadable(run, rank, attempt, pod)):
                raise
            return Read(b"", position, ended=True, cut=True)
        self._streams.refused.pop(output, None)
        return found

    def _most_seconds(self, run: str, attempt: int, pod: Object) -> float:
        """How long a log is waited for: who follows many runs must not wait for each one of a node that is silent.

        The end of an attempt is waited for as long as its node may still come back in time to tell it.
        """
        is_due = is_over(pod) or self._is_concluded(run, attempt)
        is_hopeless = is_lost(pod) or (_is_silent(pod) and not (is_due and _is_answered(pod)))
        return SILENT_NODE_SECONDS if is_hopeless else math.inf

    def _is_unreadable(self, run: str, rank: int, attempt: int, pod: Object) -> bool:
        """Whether a log that is refused for long will stay so: its worker ended long ago, and the API server answers.

        Its node has gone since, or cannot be reached from there.

        Raises:
            ClusterUnavailableError: The API server does not answer.
        """
        record = self._view.record(run)
        if record is None:
            return False
        exits = [e for e in record.told("exited") if (e.record.attempt, e.record.rank) == (attempt, rank)]
        ends = [event.at for event in (*exits, *record.told("finished"))]
        if not ends or datetime.now(UTC) - ends[0] < timedelta(seconds=LASTING_SECONDS):
            return False
        self._api.get(PODS, name_of(pod))
        return True

    def _stream(self, run: str, rank: int, attempt: int, pod: Object, position: int, *, silent: bool = False) -> Stream:
        opened = time.monotonic()

        def told(frame: dict[str, Any]) -> None:
            self._settling.tell(run, (life_of(pod), attempt, rank), frame, opened)

        def over() -> bool:
            now = [p for p in self._view.seen(run).pods if name_of(p) == name_of(pod)]
            return not now or is_over(now[0]) or self._is_concluded(run, attempt)

        return Stream(self._api, name_of(pod), position, told, over, silent=silent)

    def _is_concluded(self, run: str, attempt: int) -> bool:
        """Whether it is written down how the attempt ended: its pods have, or nobody waits for them any more."""
        record = self._view.record(run)
        return record is None or record.is_over or record.attempt > attempt


def _pod_of(seen: Seen, rank: int, attempt: int) -> Object | None:
    """The pod that was made last, also one that has gone: this process may have read its log."""
    return {**newest_pods(seen.departed_of(attempt)), **newest_pods(seen.pods_of(attempt))}.get(rank)


def _was_made(record: RunRecord, attempt: int, rank: int) -> bool:
    """Whether a worker of the attempt was there, as far as anybody has heard."""
    return bool(record.told("started", attempt)) or rank in record.exits(attempt)


def _is_settled(record: RunRecord, attempt: int, rank: int) -> bool:
    """Whether no more of an attempt's output is uploaded: its worker has, or the log goes on with a later attempt."""
    end = record.exits(attempt).get(rank)
    has_ended = record.is_over or (end is not None and end.cause is not ExitCause.LOST)
    return has_ended or any(event.attempt > attempt for event in record.told("started"))


def _is_answered(pod: Object) -> bool:
    """Whether its node lives, as far as anybody knows: it would have deleted the pod when it was told to."""
    until = pod["metadata"].get("deletionTimestamp")
    return not is_lost(pod) and (until is None or datetime.now(UTC) < datetime.fromisoformat(until))


def _is_silent(pod: Object) -> bool:
    """Whether Kubernetes has marked it as its node tells nothing; a node itself never calls it less than its parts."""
    return condition_of(pod, "Ready").get("status") == "False" and has_condition(pod, "ContainersReady")
