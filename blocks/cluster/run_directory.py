"""Make and remove the directories of runs, each in one step, so that nobody ever sees half a run."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.cluster.layout import RunLayout, read_json, write_json
from blocks.domain.plan import RunPlan

_NEW, _REMOVED = ".new-", ".removed-"

Summary = dict[str, Any]
"""What the queue and `find` need of a plan, which may list a hundred thousand objects."""


def create_run(layout: RunLayout, plan: RunPlan) -> int | None:
    """Make the run's directory with its agent's lock held; None when there is one already, whose plan stays.

    Returns:
        A descriptor that holds the lock.
    """
    runs = layout.directory.parent
    runs.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{layout.run_id}-", dir=runs))
    try:
        write_json(new / layout.summary.name, _summary(plan))
        (new / layout.plan.name).write_text(plan.model_dump_json())
        lock = os.open(new / layout.lock.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        discard(new)
        raise
    try:
        new.rename(layout.directory)  # refused when there is a directory with anything in it
    except OSError:
        os.close(lock)
        discard(new)
        if layout.directory.exists():
            return None
        raise
    return lock


def read_summary(layout: RunLayout) -> Summary | None:
    """What was kept of the run's plan; None when there is no such run."""
    return read_json(layout.summary)


def stored_runs(home: Path) -> list[RunLayout]:
    """All runs that are there, in no order."""
    with suppress(FileNotFoundError):
        return [RunLayout(home, name) for name in os.listdir(home / "runs") if not name.startswith(".")]
    return []


def recorded_runs(home: Path) -> set[str]:
    """The ids of all runs of which there are events, whether or not they are stored."""
    return {file.stem for file in (home / "events").glob("*.jsonl")}


def last_change(layout: RunLayout) -> datetime:
    """When the run's last event was written, or its directory changed; now, when there is neither."""
    for path in (layout.events, layout.directory):
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return datetime.now(UTC)


def remove_run(layout: RunLayout) -> None:
    """Remove the run's directory; its name is free at once, also when the rest takes a while."""
    gone = layout.directory.with_name(f"{_REMOVED}{layout.run_id}-{os.getpid()}-{os.urandom(4).hex()}")
    layout.directory.rename(gone)
    layout.events.unlink(missing_ok=True)
    discard(gone)


def half_done(home: Path) -> Iterator[Path]:
    """Directories that a process which died while it made or removed a run left behind."""
    for prefix in (_NEW, _REMOVED):
        yield from (home / "runs").glob(f"{prefix}*")


def discard(directory: Path) -> None:
    """Remove a directory and all below it, also what entry points and staging made read-only."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        _allow_changes(directory)
        shutil.rmtree(directory)


def _allow_changes(directory: Path) -> None:
    """Give the owner all rights on the directories of a tree, each before it is looked into."""
    directory.chmod(stat.S_IRWXU)
    for parent, names, _ in os.walk(directory):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU)


def _summary(plan: RunPlan) -> Summary:
    return {
        "run_id": plan.run_id,
        "created": plan.created.isoformat(),
        "created_us": round(plan.created.timestamp() * 1_000_000),
        "labels": plan.labels,
        "workers": plan.workers,
        "vcpus": plan.resources.vcpus,
        "memory_mib": plan.resources.memory_mib,
        "gpus": plan.resources.gpus,
        "limit_mib": plan.logs.limit_mib,
    }
