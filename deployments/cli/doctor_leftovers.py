"""What dead processes left behind: processes of runs that are over, run directories nobody knows, abandoned rows."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.domain.errors import NotFoundError
from deployments.cli.access import open_registry, read_settings
from deployments.cli.findings import Finding, fine, problem, warning

if TYPE_CHECKING:
    from blocks.registry.records import Training


def stray_processes() -> Iterator[Finding]:
    """Processes that say they belong to a run which is over, or which is not there any more."""
    from blocks.cluster.base import Selector
    from blocks.connections.platform import open_platform

    over = {s.handle.run_id for s in open_platform().cluster.find(Selector()) if s.phase.value in ("finished", "lost")}
    strays = [
        problem(
            "leftovers",
            f"processes {', '.join(map(str, pids))} belong to the run {run.name}, which is over",
            f"End them: kill {' '.join(map(str, pids))}",
        )
        for run, pids in sorted(_marked_processes().items())
        if run.name in over or not run.is_dir()
    ]
    yield from strays or [fine("leftovers", "no process of a run that is over")]


def forgotten_runs() -> Iterator[Finding]:
    """Run directories without a row, or of trainings that ended long ago."""
    runs = read_settings().home / "runs"
    found = [
        warning("leftovers", f"{directory} belongs to no training", f"Remove it: rm -r {directory}")
        for directory in (sorted(runs.iterdir()) if runs.is_dir() else ())
        if directory.is_dir() and _row(directory.name) is None
    ]
    yield from found or [fine("leftovers", "no run directory without its training")]


def dead_flows() -> Iterator[Finding]:
    """Trainings under way that no process follows."""
    from blocks.domain.lifecycle import TRAINING, TrainingStatus
    from blocks.registry.records import Query

    registry = open_registry()
    under_way = tuple(
        status.value
        for status in TrainingStatus
        if not TRAINING.is_final(status) and status is not TrainingStatus.CREATE_FAILED
    )
    found = [
        problem(
            "leftovers",
            f"the training {row.name} is {row.status.value}, but no process follows it",
            f"Go on with it: makerflow training resume {row.name}",
        )
        for row in registry.trainings.page(Query(status=under_way, limit=1000)).items
        if not registry.is_leased(row.id)
    ]
    yield from found or [fine("leftovers", "every training under way is followed")]


def _row(training_id: str) -> "Training | None":
    try:
        return open_registry().trainings.get(training_id)
    except NotFoundError:
        return None


def _marked_processes() -> dict[Path, list[int]]:
    """Run directory below our home to the processes that carry its marker."""
    import psutil

    from blocks.cluster.processes import MARKER

    runs = read_settings().home / "runs"
    found = defaultdict(list)
    for process in psutil.process_iter():
        try:
            marker = Path(process.environ().get(MARKER, ""))
        except psutil.Error:
            continue  # it has ended, or is another user's
        if marker.parent == runs:
            found[marker].append(process.pid)
    return found
