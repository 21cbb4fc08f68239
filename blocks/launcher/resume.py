"""What a restarted gang goes on from: the checkpoints that its earlier attempts left."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from blocks.cluster.layout import RunLayout, read_json
from blocks.domain.plan import ExitRecord, InputKind, RunPlan
from blocks.launcher.directories import CHECKPOINTS, remove_tree
from blocks.launcher.mirror import Death, complete_files
from blocks.launcher.tree import FoundFile, look


def deaths_of(layout: RunLayout, plan: RunPlan, attempt: int) -> dict[int, Death | None]:
    """How each rank's attempt ended that was killed; None for one that ended by itself and could finish its files."""
    return {rank: _death(layout, rank, attempt) for rank in range(plan.workers)}


def checkpoint_input(layout: RunLayout, plan: RunPlan, attempt: int) -> Path | None:
    """The directory that attempt number `attempt` is given as its input checkpoint.

    The run's own complete checkpoints where there are any, laid out as they are at their place in storage (rank 0's,
    and the others' in `worker-{rank}/`), else the input checkpoint that was asked for, else None. It is a copy: a
    worker that overwrites its checkpoint in place must not change what another still reads.
    """
    given = layout.inputs / InputKind.CHECKPOINT
    own = layout.inputs / f"checkpoint-of-attempt-{attempt - 1}"
    deaths = deaths_of(layout, plan, attempt - 1) if attempt > 1 else {}
    files = {rank: _complete(layout, rank, deaths) for rank in range(plan.workers)} if attempt > 1 else {}
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


def _death(layout: RunLayout, rank: int, attempt: int) -> Death | None:
    try:
        record = ExitRecord.model_validate_json(layout.exit_record(rank, attempt).read_bytes())
    except FileNotFoundError:
        return Death(0)
    if record.code is not None:
        return None
    looked = read_json(layout.worker(rank) / f"open-{attempt}.json")
    return Death(record.ended.timestamp(), frozenset(looked["files"]) if looked else None)


def _complete(layout: RunLayout, rank: int, deaths: Mapping[int, Death | None]) -> list[FoundFile]:
    return complete_files(look(layout.worker(rank) / CHECKPOINTS).files, deaths.get(rank))
