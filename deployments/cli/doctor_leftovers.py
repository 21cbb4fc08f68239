"""What dead processes left behind: processes and directories of runs, half-done work, trainings that nobody follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.domain.errors import NotFoundError
from deployments.cli.access import open_registry, read_settings
from deployments.cli.findings import Finding, fine, problem, warning

if TYPE_CHECKING:
    from blocks.registry.records import Training


def leftover_runs() -> Iterator[Finding]:
    """Processes of runs that are over or that nobody knows; run directories that belong to no training."""
    from blocks.cluster.processes import marked_runs

    runs = read_settings().home / "runs"
    found = [finding for run in sorted(_run_directories(runs) | marked_runs(runs)) for finding in _left_of(run)]
    yield from found or [fine("leftovers", "every process and directory of a run belongs to a training")]


def half_done_work() -> Iterator[Finding]:
    """What the cluster itself can remove without a doubt is removed, and told."""
    from blocks.connections.platform import open_platform

    for removed in open_platform().cluster.tidy():
        yield fine("leftovers", f"removed what a dead process had left half done: {removed}")


def dead_flows() -> Iterator[Finding]:
    """Trainings under way that no process follows."""
    from blocks.domain.lifecycle import UNDER_WAY
    from blocks.registry.records import Query

    registry = open_registry()
    query = Query(status=tuple(UNDER_WAY), limit=1000)
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
    from blocks.domain.lifecycle import UNDER_WAY

    row = _row(run.name)
    if row is not None and row.status in UNDER_WAY and run.is_dir():
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


def _row(training_id: str) -> "Training | None":
    try:
        return open_registry().trainings.get(training_id)
    except NotFoundError:
        return None


def _run_directories(runs: Path) -> set[Path]:
    """Those of whole runs: the names of half-made ones begin with a dot."""
    return {path for path in runs.iterdir() if not path.name.startswith(".")} if runs.is_dir() else set()
