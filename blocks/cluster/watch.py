"""Follow the events of many runs as one stream."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import TypeAdapter

from blocks.cluster.base import Cursor
from blocks.cluster.changes import DirectoryWatch
from blocks.domain.plan import RunEvent

_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)
_SUFFIX = ".jsonl"
_PIECE_BYTES = 1 << 20


def watch_events(
    directory: Path, run_id: str, selected: Callable[[str], bool], since: Cursor, idle_seconds: float | None
) -> Iterator[RunEvent | None]:
    """All events of the selected runs, then new ones as they are written.

    Args:
        directory: Where the files of events are.
        run_id: When given, only this run's file is ever opened.
        selected: Whether a run is meant; asked until it says yes.
        since: For each run, the sequence number of the last event that is not wanted.
        idle_seconds: Yield None whenever no selected run has had an event for this long.
    """
    tails: dict[str, _Tail] = {}
    with DirectoryWatch(directory) as watch:
        names: set[str] | None = None
        heard = time.monotonic()
        while True:
            for name in _in_question(directory, run_id, names):
                tail = tails.get(name)
                if tail is None and selected(name.removesuffix(_SUFFIX)):
                    tail = tails[name] = _Tail(directory / name, since.get(name.removesuffix(_SUFFIX), 0))
                for event in tail.read() if tail else ():
                    yield event
                    heard = time.monotonic()
            if idle_seconds is not None and time.monotonic() - heard >= idle_seconds:
                yield None
                heard = time.monotonic()
            names = watch.changed(None if idle_seconds is None else heard + idle_seconds - time.monotonic())


def _in_question(directory: Path, run_id: str, names: set[str] | None) -> list[str]:
    """The files to look at now: those that changed, or all when that is not known."""
    if run_id:
        own = run_id + _SUFFIX
        return [own] if names is None or own in names else []
    return sorted(name for name in (os.listdir(directory) if names is None else names) if name.endswith(_SUFFIX))


class _Tail:
    """Reads what is new in one run's file. A last line without its end is left for later: it is still being written."""

    def __init__(self, file: Path, since: int) -> None:
        self._file = file
        self._since = since
        self._inode = self._offset = self._line = 0

    def _start_over(self) -> None:
        """The run was removed: what a file of the same name holds is another life of it."""
        self._since = self._inode = self._offset = self._line = 0

    def read(self) -> Iterator[RunEvent]:
        """The events that are new since the last call; none while there is no file."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._inode:
                self._start_over()
            return
        try:
            self._check_identity(os.fstat(descriptor))
            while lines := self._whole_lines(descriptor):
                for line in lines:
                    # The number of a line is the event's sequence number, so that what is known need not be parsed.
                    self._line += 1
                    self._offset += len(line)
                    if self._line > self._since:
                        yield _EVENT.validate_json(line)
        finally:
            os.close(descriptor)

    def _check_identity(self, status: os.stat_result) -> None:
        if self._inode not in (0, status.st_ino) or status.st_size < self._offset:
            self._start_over()
        self._inode = status.st_ino

    def _whole_lines(self, descriptor: int) -> list[bytes]:
        data = os.pread(descriptor, _PIECE_BYTES, self._offset)
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
