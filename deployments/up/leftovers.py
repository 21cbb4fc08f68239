"""Whatever an instance has started, found by the mark that all of it carries, and ended.

Trainings are not among it: their agents start with an environment of their own, and go on.
"""

from pathlib import Path

import psutil

from blocks.domain.errors import WorkflowServerUnavailableError
from deployments.up.layout import Layout
from deployments.up.tied import MARKER

GRACE_SECONDS = 10.0
ROUNDS = 5
"""What is still there after so many looks and signals cannot be ended, such as a process that waits for a dead disk."""


def descendants_of(layout: Layout, part: str = "") -> list[psutil.Process]:
    """The living processes that a part of this home has started, itself included; of all parts when none is named."""
    return [process for process in psutil.process_iter() if _is_marked(process, layout.parts, part)]


def end_descendants(layout: Layout, part: str = "", *, grace_seconds: float = GRACE_SECONDS) -> int:
    """End them: SIGTERM, after the grace SIGKILL, until none is found. How many there were.

    Raises:
        WorkflowServerUnavailableError: Some do not end.
    """
    ended: set[psutil.Process] = set()
    for _ in range(ROUNDS):
        found = descendants_of(layout, part)
        if not found:
            return len(ended)
        ended.update(found)
        for process in found:
            _signal(process, force=False)
        _, alive = psutil.wait_procs(found, timeout=grace_seconds)
        for process in alive:
            _signal(process, force=True)
        psutil.wait_procs(alive, timeout=grace_seconds)
    pids = ", ".join(str(process.pid) for process in found)
    raise WorkflowServerUnavailableError(str(layout.directory), f"these of its processes do not end by SIGKILL: {pids}")


def _is_marked(process: psutil.Process, parts: Path, part: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        marker = process.environ().get(MARKER, "")
    except (psutil.Error, OSError):  # it has gone, or is somebody else's
        return False
    return marker == str(parts / part) if part else Path(marker).parent == parts


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
