"""The directories of the workers: where each finds its inputs and leaves its outputs."""

import os
import shutil
from pathlib import Path

from blocks.cluster.layout import RunLayout
from blocks.domain.environment import WorkerDirectories
from blocks.domain.plan import InputKind, RunPlan
from blocks.storage.staging import input_directory

EMPTIED = ("source", "model", "tmp")
"""What an attempt leaves there is not the next one's."""

KEPT = ("checkpoints", "tensorboard")
"""What was written there stays, and goes on."""

SOURCE, MODEL, TMP = EMPTIED
CHECKPOINTS, TENSORBOARD = KEPT


def make_worker_directories(layout: RunLayout, plan: RunPlan, rank: int, checkpoint: Path | None) -> WorkerDirectories:
    """Everything that one worker's attempt needs, there and absolute.

    The source is a copy of the worker's own, because an entry point may write beside itself; the other inputs are
    shared by all workers and read-only.

    Args:
        layout: The run's places, its inputs staged.
        plan: The run's plan.
        rank: The worker.
        checkpoint: What it goes on from, when there is something.
    """
    own = layout.worker(rank)
    for unused in own.glob(".exit-*"):  # space that a killed supervisor kept for its record
        unused.unlink()
    for name in EMPTIED:
        remove_tree(own / name)
    for name in (MODEL, TMP, *KEPT):
        (own / name).mkdir(parents=True, exist_ok=True)
    _copy_source(layout.inputs / InputKind.SOURCE, own / SOURCE)
    datasets = [i for i in plan.inputs if i.kind is InputKind.DATASET]
    return WorkerDirectories(
        source=str(own / SOURCE),
        model=str(own / MODEL),
        checkpoints=str(own / CHECKPOINTS),
        tensorboard=str(own / TENSORBOARD),
        checkpoint_input=str(checkpoint) if checkpoint else "",
        datasets={i.name: str(input_directory(layout.inputs, i)) for i in datasets},
        tmp=str(own / TMP),
    )


def remove_tree(directory: Path) -> None:
    """Remove a directory that an entry point could write to: also what it made unreadable; nothing there is fine."""
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    if not directory.exists():
        return
    os.chmod(directory, 0o700)
    for folder, names, _ in os.walk(directory):
        for name in names:  # before the walk comes to them, as it leaves out what it cannot read
            if not os.path.islink(below := os.path.join(folder, name)):
                os.chmod(below, 0o700)
    shutil.rmtree(directory)


def _copy_source(staged: Path, to: Path) -> None:
    to.mkdir()
    for folder, names, files in os.walk(staged):
        below = to / os.path.relpath(folder, staged)
        for name in names:
            (below / name).mkdir()
        for name in files:
            copy = shutil.copy2(Path(folder, name), below / name)
            os.chmod(copy, 0o700 if os.access(copy, os.X_OK, follow_symlinks=False) else 0o600)
