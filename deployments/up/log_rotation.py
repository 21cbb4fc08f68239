"""Bounds for logs that several processes append to for days, as flow runs do: none of them could rotate it for all."""

import shutil
from contextlib import suppress
from pathlib import Path

from deployments.up.layout import Layout

LOG_MEGABYTES = 10
LOG_FILES = 3
"""Former ones that are kept of each part; of a log that many append to, one."""
DETACHED = "up"
FLOW_RUNS = "flow-runs"


def bound_shared_logs(layout: Layout) -> None:
    """Copy what has become too long aside and empty it: whoever has it open for appending goes on at its beginning."""
    for name in (DETACHED, FLOW_RUNS):
        log = layout.log(name)
        with suppress(OSError):  # it is not there; or the disk is full, and the next look may find room
            if log.stat().st_size > LOG_MEGABYTES * 2**20:
                _rotate(log)


def _rotate(log: Path) -> None:
    aside = log.with_suffix(".log.1")
    try:
        shutil.copyfile(log, aside)
    except OSError:
        aside.unlink(missing_ok=True)
    log.write_bytes(b"")
