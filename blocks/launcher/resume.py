"""What a restarted gang goes on from: the checkpoints that its earlier attempts left."""

import os
import shutil
from pathlib import Path

from blocks.cluster.layout import RunLayout
from blocks.domain.plan import InputKind, RunPlan
from blocks.launcher.directories import CHECKPOINTS, remove_tree
from blocks.launcher.doubts import known_doubts
from blocks.launcher.tree import FoundFile, look


def checkpoint_input(layout: RunLayout, plan: RunPlan, attempt: int) -> Path | None:
    """The directory that attempt number `attempt` is given as its input checkpoint.

    The run's own complete checkpoints where there are any, laid out as they are at their place in storage (rank 0's,
    and the others' in `worker-{rank}/`), else the input checkpoint that was asked for, else None. It is a copy: a
    worker that overwrites its checkpoint in place must not change what another still reads.
    """
    given = layout.inputs / InputKind.CHECKPOINT
    own = layout.inputs / f"checkpoint-of-attempt-{attempt - 1}"
    files = {rank: _complete(layout, rank) for rank in range(plan.workers)} if attempt > 1 else {}
    if not any(files.values()):
        return given if any(i.kind is InputKind.CHECKPOINT for i in plan.inputs) else None
    remove_tree(own)
    for rank, found in files.items():
        for file in found:
            copy = own / (f"worker-{rank}" if rank else "") / file.key
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file.path, copy)
            os.chmod(copy, 0o400)
    return own


def _complete(layout: RunLayout, rank: int) -> list[FoundFile]:
    doubts = known_doubts(layout, rank)
    return [file for file in look(layout.worker(rank) / CHECKPOINTS).files if file.version not in doubts]
