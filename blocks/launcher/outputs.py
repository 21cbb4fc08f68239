"""What is uploaded when the workers have ended: the model of a good end, and the log of any."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blocks.cluster.layout import RunLayout
from blocks.cluster.output import segment_file, segments
from blocks.cluster.uploaded_log import DROPPED
from blocks.domain.errors import InvalidInputError
from blocks.domain.plan import OutputKind, PlannedOutput, RunPlan
from blocks.launcher.directories import MODEL
from blocks.launcher.mirror import output_path
from blocks.launcher.stores import Stores
from blocks.launcher.tree import RefusedOutputError, look
from blocks.storage.base import LocalFile, Progress
from blocks.storage.local_files import collect, open_collected

LOG_NAME = "output.log"
EARLIER_LOG = "earlier.log"
"""What a worker printed in earlier attempts, where each attempt begins on an empty disk, and the mark of this one."""

COPY_BYTES = 1 << 20
MOST_GROWING = 8
"""Times what is kept of one attempt's output: more than so much of all attempts is uploaded at the end only."""


@dataclass(frozen=True)
class Arrival:
    """An output that is at its place."""

    kind: OutputKind
    path: str
    files: int
    bytes: int


Report = Callable[[Arrival], None]


def outputs_of(plan: RunPlan, kind: OutputKind) -> list[PlannedOutput]:
    """The plan's outputs of one kind."""
    return [output for output in plan.outputs if output.kind is kind]


def upload_model(layout: RunLayout, plan: RunPlan, ranks: Iterable[int], stores: Stores, report: Report) -> bool:
    """Upload what these workers left as model; False when they left nothing.

    Nothing is uploaded before all of it is known to be fit for it.

    Raises:
        RefusedOutputError: A worker left a link out of its directory, or another thing that may not leave the machine.
        AccessDeniedError: Writing is not allowed.
        StorageUnavailableError: The store failed.
    """
    files = {rank: _model_files(layout.worker(rank) / MODEL) for rank in ranks}
    for output in outputs_of(plan, OutputKind.MODEL):
        for rank in files:
            _upload(output, rank, files[rank], stores, report)
    return any(files.values())


def upload_logs(layout: RunLayout, plan: RunPlan, ranks: Iterable[int], stores: Stores, report: Report) -> None:
    """Upload each worker's output as one file; what the agent and its installer said when no worker came to print.

    It is reported once all of it is at its place, also when there is nothing at all: whoever waits for that knows then.

    Raises:
        AccessDeniedError: Writing is not allowed.
        StorageUnavailableError: The store failed.
    """
    found = {rank: _whole_log(layout, rank, plan.logs.limit_mib) for rank in ranks}
    files = {rank: file for rank, file in found.items() if file} or _log_of_agent(layout)
    arrived: list[Arrival] = []
    for output in outputs_of(plan, OutputKind.LOG):
        for rank, file in files.items():
            _upload(output, rank, [LocalFile(file, LOG_NAME)], stores, arrived.append)
        if not files:
            arrived.append(Arrival(output.kind, str(output_path(output, 0)), 0, 0))
    for each in arrived:
        report(each)


def upload_growing_log(
    layout: RunLayout, plan: RunPlan, rank: int, stores: Stores, copy: Path, progress: Progress
) -> None:
    """Upload what a worker that runs has printed so far.

    Args:
        layout: Where its output is.
        plan: Where it goes.
        rank: The worker.
        stores: That it goes to.
        copy: Where a copy is made of what grows, which nobody else can write to.
        progress: Told of it; what it raises ends the upload.

    Raises:
        OSError: A part of the output was dropped just now, or an entry point has put something else in its place.
        AccessDeniedError: Writing is not allowed.
        StorageUnavailableError: The store failed.
    """
    _assemble(layout, rank, plan.logs.limit_mib, copy, most_bytes=MOST_GROWING * plan.logs.limit_mib << 20)
    for output in outputs_of(plan, OutputKind.LOG):
        _upload(output, rank, [LocalFile(copy, LOG_NAME)], stores, lambda _: None, progress)


def _model_files(directory: Path) -> list[LocalFile]:
    if directory.is_symlink():
        raise RefusedOutputError("EM_MODEL_DIR", "it was replaced by a link", "Let the entry point write into it.")
    look(directory).check("What was left in EM_MODEL_DIR")
    try:
        return collect(directory) if directory.exists() else []
    except InvalidInputError as error:
        raise RefusedOutputError(error.what, error.why, error.remedy) from error


def _upload(
    output: PlannedOutput,
    rank: int,
    files: list[LocalFile],
    stores: Stores,
    report: Report,
    progress: Progress = lambda _: None,
) -> None:
    if not files:
        return
    place = output_path(output, rank)
    store = stores.open(output.path, output.connection)
    sizes = [uploaded.size for uploaded in store.upload(files, place, progress)]
    report(Arrival(output.kind, str(place), len(sizes), sum(sizes)))


def _log_of_agent(layout: RunLayout) -> dict[int, Path]:
    """A copy, as the agent may have more to say."""
    if not layout.agent_log.exists() or not layout.agent_log.stat().st_size:
        return {}
    copy = layout.directory / LOG_NAME
    with _made_anew(copy) as stream:
        _append(layout.agent_log, stream)
    return {0: copy}


def _whole_log(layout: RunLayout, rank: int, limit_mib: int) -> Path | None:
    """All of a worker's output in one file, with a mark where something was dropped; None without output."""
    directory, earlier = layout.output(rank), layout.worker(rank) / EARLIER_LOG
    offsets = segments(directory)
    if len(offsets) < 2 and not earlier.exists():
        return segment_file(directory, offsets[0]) if offsets else None
    whole = layout.worker(rank) / LOG_NAME
    _assemble(layout, rank, limit_mib, whole)
    return whole


def _assemble(layout: RunLayout, rank: int, limit_mib: int, whole: Path, most_bytes: float = math.inf) -> None:
    directory, earlier = layout.output(rank), layout.worker(rank) / EARLIER_LOG
    with _made_anew(whole) as stream:
        expected = 0
        if earlier.exists():
            _append(earlier, stream, most_bytes)
        for offset in segments(directory):
            dropped, segment = offset - expected, segment_file(directory, offset)
            if dropped > 0:
                stream.write(DROPPED % (dropped, limit_mib))
            expected = offset + segment.stat().st_size
            _append(segment, stream, most_bytes)


def _made_anew(file: Path) -> BinaryIO:
    """An empty file, also where an entry point has put a link: who has more rights must not write through it."""
    file.unlink(missing_ok=True)
    return file.open("xb")


def _append(file: Path, to: BinaryIO, most_bytes: float = math.inf) -> None:
    """As much as there is now: an entry point may have put there what never ends, or what takes no room where it is."""
    with open(open_collected(file), "rb") as part:
        left = os.fstat(part.fileno()).st_size  # 0 of a pipe
        if to.tell() + left > most_bytes:
            raise OSError(f"{file} is no file of a log")
        while left > 0 and (piece := part.read(min(COPY_BYTES, left))):
            to.write(piece)
            left -= len(piece)
