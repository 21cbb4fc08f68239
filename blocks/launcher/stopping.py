"""Learn at once that a stop was asked for, a child has ended or a thread is done. Standard library only."""

import os
import select
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

from blocks.cluster.layout import read_json

T = TypeVar("T")

POLL_SECONDS = 0.5
"""Whoever asks writes the file, then sends SIGTERM; were he killed in between, the file is found this late."""


class StopSwitch:
    """Whether the run is to be stopped, by SIGTERM or SIGINT to this process or by the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._asked = False
        self._alarm, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        if not self._asked:
            self._asked = self._file.exists()
        return self._asked

    def grace_seconds(self, default: float) -> float:
        """How long the workers may take to end politely."""
        try:
            return float((read_json(self._file) or {}).get("grace_seconds", default))
        except (TypeError, ValueError):
            return default

    def wake(self) -> None:
        """Make `wait` return; from any thread."""
        os.write(self._bell, b"\0")

    def wait(self, seconds: float = POLL_SECONDS) -> None:
        """Until a signal, `wake` or the time."""
        if select.select([self._alarm], [], [], seconds)[0]:
            os.read(self._alarm, 4096)

    def _ask(self, *_: object) -> None:
        self._asked = True


def in_background(switch: StopSwitch, name: str, work: Callable[[], T]) -> "Future[T]":
    """Run `work` in a thread that does not outlive the process; the switch is woken when it is done."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        switch.wake()

    Thread(target=run, name=name, daemon=True).start()
    return future
