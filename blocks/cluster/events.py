"""The events of one run on disk: a line of JSON each, numbered from 1 without gaps.

There is one writer at a time: who holds the run's agent lock. Standard library only: an agent that waits in the queue
writes its events too.
"""

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.cluster.layout import read_json

_TAIL_BYTES = 1 << 16  # more than any event that we write: an exit record's tail is 4 KiB

Event = dict[str, Any]


class EventLog:
    """Appends events, going on where an earlier writer ended or died.

    Args:
        file: Made when it is not there.
        run_id: Whose events these are.

    Attributes:
        last: The last event; None when there is none yet.
    """

    def __init__(self, file: Path, run_id: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._run_id = run_id
        self._descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # What a writer that died left of a line was never an event: readers wait for a line's end.
        self.last, self._end = _last(self._descriptor)
        os.ftruncate(self._descriptor, self._end)

    def append(self, kind: str, **fields: object) -> Event:
        """Write one event, whole or not at all; returns it.

        Raises:
            OSError: There is no room for it.
        """
        number = self.last["sequence"] + 1 if self.last else 1
        at = datetime.now(UTC).isoformat()
        event: Event = {"kind": kind, "run_id": self._run_id, "sequence": number, "at": at, **fields}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(line)
        self.last = event
        return event

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def last_event(file: Path) -> Event | None:
    """The last whole event of a run; None when it has none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _last(descriptor)[0]
    finally:
        os.close(descriptor)


def is_over(file: Path) -> bool:
    """Whether the run's last event says that it is finished."""
    last = last_event(file)
    return last is not None and last["kind"] == "finished"


def empty_logs(plan: Path) -> list[Event]:
    """What `uploaded` tells of a run that never came to print anything: who waits for its log need not wait."""
    outputs = (read_json(plan) or {}).get("outputs", ())
    return [{"output": "log", "path": o["path"], "files": 0, "bytes": 0} for o in outputs if o["kind"] == "log"]


def _last(descriptor: int) -> tuple[Event | None, int]:
    """The last whole event, and where it ends."""
    size = os.fstat(descriptor).st_size
    tail = b""
    while (start := size - len(tail)) > 0:
        step = min(_TAIL_BYTES, start)
        tail = os.pread(descriptor, step, start - step) + tail
        lines = tail[: tail.rfind(b"\n") + 1].splitlines()
        if len(lines) > 1 or (lines and start == step):
            return json.loads(lines[-1]), size - len(tail) + tail.rfind(b"\n") + 1
    return None, 0
