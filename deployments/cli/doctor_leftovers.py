"""What dead processes left behind: processes and directories of runs, half-done work, trainings that nobody follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.domain.errors import NotFoundError
from deployments.cli.access import open_registry, read_settings
from deployments.cli.findings import Finding, fine, problem, warning

if TYPE_CHECKING:
    from blocks.domain.lifecycle import TrainingStatus
    from blocks.registry.records import Training


def leftover_runs() -> Iterator[Finding]:
    """Processes of runs that are over or that nobody knows; run directories that belong to no training."""
    found = [finding for run in sorted(_run_directories() | _marked_runs()) for finding in _left_of(run)]
    yield from found or [fine("leftovers", "every process and directory of a run belongs to a training")]


def half_done_work() -> Iterator[Finding]:
    """What the cluster itself can remove without a doubt is removed, and told."""
    from blocks.connections.platform import open_platform

    for removed in open_platform().cluster.tidy():
        yield fine("leftovers", f"removed what a dead process had left half done: {removed}")


def dead_flows() -> Iterator[Finding]:
    """Trainings under way that no process follows."""
    from blocks.registry.records import Query

    registry = open_registry()
    query = Query(status=tuple(status.value for status in _under_way()), limit=1000)
    found = [
        problem(
            "leftovers",
            f"the training {row.name} is {row.status.value}, but no process follows it",
            f"Go on with it: makerflow training resume {row.name}. Or end it: makerflow training stop {row.name}",
        )
        for row in registry.trainings.page(query).items
        if not registry.is_leased(row.id)
    ]
    yield from found or [fine("leftovers", "every training under way is followed")]


def _left_of(run: Path) -> Iterator[Finding]:
    """What should not be there of one run."""
    from blocks.cluster.processes import find_processes

    row = _row(run.name)
    if row is not None and row.status in _under_way() and run.is_dir():
        return
    # Looked for after the row was read: whoever moves a row to its end has ended the processes first.
    pids = " ".join(map(str, find_processes(run)))
    if pids:
        whose = f"the training {row.name}, which is {row.status.value}" if row else "no training that is known"
        message = f"the processes {pids} of the run {run.name} belong to {whose}"
        yield problem("leftovers", message, f"End them: kill -9 {pids}; then run `makerflow doctor` again.")
    elif row is None and run.is_dir():
        message = f"{run} belongs to no training, and no process of it lives"
        yield warning("leftovers", message, f"Remove it: rm -rf {run}")


def _under_way() -> "set[TrainingStatus]":
    from blocks.domain.lifecycle import TRAINING, TrainingStatus

    resting = TrainingStatus.CREATE_FAILED  # not final, as it can be resumed; but nothing of it runs
    return {status for status in TrainingStatus if not TRAINING.is_final(status) and status is not resting}


def _row(training_id: str) -> "Training | None":
    try:
        return open_registry().trainings.get(training_id)
    except NotFoundError:
        return None


def _run_directories() -> set[Path]:
    """Those of whole runs: the names of half-made ones begin with a dot."""
    runs = read_settings().home / "runs"
    return {path for path in runs.iterdir() if not path.name.startswith(".")} if runs.is_dir() else set()


def _marked_runs() -> set[Path]:
    """The run directories below our home, there or not, whose marker a process carries."""
    import psutil

    from blocks.cluster.processes import MARKER

    runs = read_settings().home / "runs"
    found = set()
    for process in psutil.process_iter():
        try:
            marker = Path(process.environ().get(MARKER, ""))
        except psutil.Error:
            continue  # it has ended, or is another user's
        if marker.parent == runs:
            found.add(marker)
    return found
