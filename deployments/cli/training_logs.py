"""A worker's output: from the cluster as long as it holds the run, then from where the log was uploaded to."""

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, BinaryIO

from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import UNDER_WAY
from blocks.domain.plan import OutputKind, PlannedOutput, RunHandle
from deployments.cli.fields import check_rank

if TYPE_CHECKING:
    from blocks.domain.plan import LogLine
    from blocks.registry.records import Training

CHUNK_BYTES = 2**20
LINE_BYTES = 2**16
LOOK_AGAIN_SECONDS = 0.2


def read_log(row: "Training", rank: int, *, follow: bool, tail: int | None) -> Iterator[str]:
    """The lines of one worker, in order, over all attempts, as its cluster tells them, else as they were uploaded.

    Args:
        row: The training.
        rank: The worker.
        follow: Go on until the training is over.
        tail: Begin with only the last so many of what is there.

    Raises:
        InvalidInputError: There is no such worker.
    """
    check_rank(rank, row.spec.instances.workers, row.name)
    return _read_log(row, rank, follow, tail)


def read_output(row: "Training", rank: int) -> Iterator[bytes]:
    """All that a worker has printed by now, over all attempts, in pieces of whole lines; a very long line is cut.

    Raises:
        InvalidInputError: There is no such worker.
    """
    check_rank(rank, row.spec.instances.workers, row.name)
    return _read_output(row, rank)


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """What a stream holds, as it comes, in pieces of whole lines; a very long line is cut."""
    rest = b""
    while piece := stream.read(LINE_BYTES) if not isinstance(stream, BufferedReader) else stream.read1(LINE_BYTES):
        lines, end, tail = piece.rpartition(b"\n")
        if end:
            yield rest + lines + end
            rest = tail
        elif len(rest := rest + tail) >= CHUNK_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def stored_lines(row: "Training", rank: int, since: int) -> Iterator[str]:
    """The lines of a worker's uploaded log behind a cursor of the cluster's; none when it printed nothing."""
    with _stored(row, rank, since) as stream:
        while line := stream.readline(LINE_BYTES):
            yield line.removesuffix(b"\n").decode(errors="replace")


@contextmanager
def _stored(row: "Training", rank: int, since: int) -> Iterator[BinaryIO]:
    """A worker's uploaded log from where it goes on; empty when there is none."""
    from blocks.cluster.uploaded_log import UploadedLog
    from blocks.connections.platform import open_platform
    from blocks.domain.errors import InputMissingError
    from blocks.domain.paths import StoragePath
    from tasks.output_reading import uploaded_log

    place = _log_place(row, rank)
    if place is None:
        yield BytesIO()
        return
    platform = open_platform()
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(uploaded_log(platform, StoragePath.parse(place)))
        except InputMissingError:
            if _has_arrived(row, place):
                raise
            yield BytesIO()
            return
        attempt, position = platform.cluster.position_of(since)
        stream.seek(UploadedLog(stream, attempt).offset_of(position))
        yield stream


def _read_output(row: "Training", rank: int) -> Iterator[bytes]:
    from blocks.connections.platform import open_platform
    from tasks.output_reading import OutputReader

    handle = handle_of(row)
    if handle is None:
        return
    output, since = OutputReader(open_platform(), handle), 0
    try:
        while (read := output.read(rank, since, CHUNK_BYTES))[1] != since:
            data, since = read
            yield data
    except NotFoundError:
        if _is_concluded(row := _as_it_is(row)):
            with _stored(row, rank, since) as stream:
                yield from pieces(stream)


def _read_log(row: "Training", rank: int, follow: bool, tail: int | None) -> Iterator[str]:
    cursor = _Cursor()
    there = _there(row, rank, cursor)
    yield from there if tail is None else deque(there, tail)
    if follow:
        yield from _new(row, rank, cursor)


class _Cursor:
    """How far the output has been read.

    Attributes:
        stored: Whether it came from the uploaded log, which is its end.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.stored = False
        self._notes: set[str] = set()

    def pass_over(self, lines: Iterator["LogLine"]) -> Iterator[str]:
        """Their texts; a note that the end of an attempt's output is missing once, however often it is come to."""
        for line in lines:
            self.offset = line.cursor
            if line.text not in self._notes:
                yield line.text
            if line.is_note:
                self._notes.add(line.text)


def _there(row: "Training", rank: int, cursor: _Cursor) -> Iterator[str]:
    """What is there now."""
    from blocks.connections.platform import open_platform

    handle = handle_of(row)
    if handle is None:
        return
    try:
        yield from cursor.pass_over(open_platform().cluster.logs(handle, rank, follow=False, since=cursor.offset))
    except NotFoundError:
        cursor.stored = True
        if _is_concluded(row := _as_it_is(row)):
            yield from stored_lines(row, rank, cursor.offset)


def _new(row: "Training", rank: int, cursor: _Cursor) -> Iterator[str]:
    """What comes after that, until the training is over."""
    handle = None if cursor.stored else _wait_for_run(row)
    if handle is None:
        return
    from blocks.connections.platform import open_platform

    platform = open_platform()
    try:
        lines = platform.cluster.logs(handle, rank, follow=True, since=cursor.offset)
        yield from cursor.pass_over(lines)
        row = platform.registry.trainings.get(row.id)
        has_more = row.logs_uploaded
    except NotFoundError:  # removed already
        has_more = _is_concluded(row := _as_it_is(row))
    if has_more:
        yield from stored_lines(row, rank, cursor.offset)


def _is_concluded(row: "Training") -> bool:
    """Whether its log is where it is uploaded to; of a run that somebody deleted nobody knows, and it may be."""
    return row.logs_uploaded or row.status not in UNDER_WAY


def _as_it_is(row: "Training") -> "Training":
    """A training whose run the cluster does not hold, as it is now: it may just have come to its end.

    Raises:
        InvalidInputError: It is on another cluster than the settings choose.
    """
    from blocks.connections.platform import open_platform

    platform = open_platform()
    row = platform.registry.trainings.get(row.id)
    if not row.logs_uploaded:
        plan = platform.registry.tunings.get(row.tuning_id).plan if row.tuning_id else row.plan
        platform.check_cluster(plan)
    return row


def _wait_for_run(row: "Training") -> RunHandle | None:
    """The run once it is launched; None when the training ends without one."""
    from deployments.cli.access import open_registry

    pause = threading.Event()
    while handle_of(row) is None:
        if row.status not in UNDER_WAY:
            return None
        pause.wait(LOOK_AGAIN_SECONDS)
        row = open_registry().trainings.get(row.id)
    return handle_of(row)


def handle_of(row: "Training") -> RunHandle | None:
    """The handle of its run; a trial's is known before it is launched."""
    return RunHandle(cluster="", run_id=row.id) if row.handle is None and row.tuning_id else row.handle


def _log_place(row: "Training", rank: int) -> str | None:
    from blocks.launcher.mirror import output_path
    from blocks.launcher.outputs import LOG_NAME

    planned = row.plan.outputs if row.plan else _arrived(row)
    for output in planned:
        if output.kind is OutputKind.LOG:
            return str(output_path(output, rank) / LOG_NAME)
    return None


def _has_arrived(row: "Training", place: str) -> bool:
    """Whether a log was uploaded to there: it is missed then, and else the worker printed nothing."""
    logs = (upload for upload in row.uploaded if upload.output is OutputKind.LOG and upload.files)
    return any(place.rpartition("/")[0] == upload.path for upload in logs)


def _arrived(row: "Training") -> Iterator[PlannedOutput]:
    """Where the outputs of a trial went, whose plan is its tuning's."""
    for upload in row.uploaded:
        yield PlannedOutput(kind=upload.output, path=re.sub(r"/worker-[0-9]+$", "", upload.path))
