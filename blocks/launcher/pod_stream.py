"""What a container of ours prints: the worker's output, and between its lines what else there is to tell.

A line that begins with `MARK` is a document of ours, every other one is the worker's own: `{"at": N}` says that the
next byte of output is number N of this attempt, `{"event": {...}}` is an event, `{"line": "..."}` a line of the output
that itself begins with `MARK`, `{"end": N}` says that there is no more output, `{"remark": "..."}` is for who looks at
the container's log. Standard library only.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from blocks.cluster.layout import RunLayout
from blocks.cluster.output import Output

MARK = b"\x1e"
PIECE_BYTES = 1 << 18
PAUSE_SECONDS = 0.1
LAST_SECONDS = 300.0
"""For what is left at the end: an entry point can leave a terabyte of nothing. The store has it as well."""


class Stream:
    """Prints what is new, until told to end.

    Args:
        layout: Where the output and the events are.
        rank: The worker.
        limit_mib: What is kept of its output.
    """

    def __init__(self, layout: RunLayout, rank: int, limit_mib: int) -> None:
        self._events = layout.events
        self._ended = Event()
        self._output = Output(layout.output(rank), limit_mib, self._ended.is_set)
        self._told = self._printed = 0

    @contextmanager
    def printed(self) -> Iterator[None]:
        """Print while the block lasts, and at its end all that is left."""
        thread = Thread(target=self._follow, name="stream", daemon=True)
        thread.start()
        yield  # without an end where the block fails: the container is started again, and goes on
        self._ended.set()
        thread.join(LAST_SECONDS)

    def _follow(self) -> None:
        self._print(MARK + b'{"at": 0}\n')
        while True:
            last = self._ended.wait(PAUSE_SECONDS)
            while self._print_output():
                self._print_events()
            self._print_events()
            if last:
                self._print(MARK + json.dumps({"end": self._printed}).encode() + b"\n")
                return

    def _print_output(self) -> bool:
        try:
            piece = self._output.read(self._printed, PIECE_BYTES)
        except OSError:  # the entry point has put something else there
            return False
        if not piece.data:
            return False
        lines = piece.data.split(b"\n")
        if any(line.startswith(MARK) for line in lines):
            lines = [_escaped(line) if line.startswith(MARK) else line for line in lines]
        self._printed = piece.cursor
        self._print(b"\n".join(lines) + MARK + json.dumps({"at": self._printed}).encode() + b"\n")
        return True

    def _print_events(self) -> None:
        """Those that are whole lines of the journal by now."""
        try:
            with self._events.open("rb") as stream:
                stream.seek(self._told)
                new = stream.read()
        except OSError:
            return
        new = new[: new.rfind(b"\n") + 1]
        self._told += len(new)
        for line in new.splitlines():
            self._print(MARK + b'{"event": ' + line + b"}\n")

    def _print(self, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]


class Remarks(io.TextIOBase):
    """What our container prints beside the stream, as documents of ours: a bare line would count as the worker's."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        """Print the lines that are whole by now."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            os.write(2, MARK + json.dumps({"remark": line}).encode() + b"\n")
        return len(text)


def _escaped(line: bytes) -> bytes:
    return MARK + json.dumps({"line": line.decode("utf-8", "surrogateescape")}).encode()
