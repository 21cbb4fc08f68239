"""Ctrl-C while something is followed: once stops it, twice leaves it running, as SIGTERM does."""

import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Generic, NoReturn

from blocks.domain.errors import MakerflowError
from deployments.cli.main import TERMINATED
from deployments.cli.output import INTERRUPTED
from deployments.cli.subjects import RowT, Subject

CHANGE_OF_MIND_SECONDS = 3.0
"""A stop cannot be undone, so this long a second Ctrl-C can still turn the first into "leave it running"."""

LOOK_AGAIN_SECONDS = 0.2


class Interrupts(Generic[RowT]):
    """Takes SIGINT and SIGTERM for as long as its block lasts; a thread of its own does the work.

    The presses are read from Python's wake-up descriptor, so that each counts, also when the main thread is busy in a
    library for so long that two signals would become one call of a handler.

    Args:
        subject: What is followed.
        name: Its name, for messages.
        find: Its row; None as long as there is none.
        tell: Shows a message while it goes on.
        leave: Called before the process ends at once, with the row and what to tell.

    Attributes:
        pressed: Whether there was a Ctrl-C.
    """

    def __init__(
        self,
        subject: Subject[RowT],
        name: str,
        find: Callable[[], RowT | None],
        *,
        tell: Callable[[str], None],
        leave: Callable[[RowT | None, str], None],
    ) -> None:
        self.pressed = False
        self._subject, self._name, self._find, self._tell, self._leave = subject, name, find, tell, leave
        self._presses, self._wake_up = os.pipe()
        os.set_blocking(self._wake_up, False)
        self._over = threading.Event()

    def __enter__(self) -> "Interrupts[RowT]":
        threading.Thread(target=self._serve, name="interrupts", daemon=True).start()
        self._before = signal.signal(signal.SIGINT, self._press)
        self._terminated_before = signal.signal(signal.SIGTERM, lambda *_: None)
        self._wake_up_before = signal.set_wakeup_fd(self._wake_up, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        signal.set_wakeup_fd(self._wake_up_before)
        signal.signal(signal.SIGINT, self._before)
        signal.signal(signal.SIGTERM, self._terminated_before)
        os.close(self._wake_up)  # ends the thread

    def _press(self, _signal: int, _frame: FrameType | None) -> None:
        self.pressed = True

    def _serve(self) -> None:
        try:
            self._answer()
        finally:
            os.close(self._presses)

    def _answer(self) -> None:
        if not self._pressed_within(None):
            return
        self._tell(
            f"Ctrl-C: {self._name} is stopped in {CHANGE_OF_MIND_SECONDS:g} s. Ctrl-C again leaves it running instead."
        )
        if self._pressed_within(CHANGE_OF_MIND_SECONDS):
            self._leave_running(INTERRUPTED)
        self._tell(f"Stopping {self._name}; {self._subject.kept}. Ctrl-C again: do not wait for the end.")
        threading.Thread(target=self._stop, name="stop", daemon=True).start()
        if not self._pressed_within(None):
            return
        row = self._find()
        self._leave(
            row, f"{self._name} is being stopped. How it ends: makerflow {self._subject.kind} show {self._name}"
        )
        os._exit(INTERRUPTED)

    def _pressed_within(self, seconds: float | None) -> bool:
        """Wait for the next Ctrl-C; False when there was none in time, or it is over."""
        while True:
            ready, _, _ = select.select([self._presses], [], [], seconds)
            if not ready:
                return False
            signals = os.read(self._presses, 1)
            if not signals:
                return False
            if signals[0] == signal.SIGINT:
                return True
            if signals[0] == signal.SIGTERM:
                self._leave_running(TERMINATED)

    def _leave_running(self, code: int) -> NoReturn:
        row = self._find()
        if row is None:
            self._leave(None, f"Nothing was started: there is no {self._subject.kind} {self._name} yet.")
            os._exit(code)
        self._subject.leave(row.id)
        again = f"makerflow {self._subject.kind} resume {self._name}"
        self._leave(row, f"{self._name} goes on without this command. Follow it again: {again}")
        os._exit(code)

    def _stop(self) -> None:
        while not self._over.is_set():
            row = self._find()
            if row is None:
                self._over.wait(LOOK_AGAIN_SECONDS)
                continue
            try:
                self._subject.stop(row.id)
            except MakerflowError as error:
                self._tell(str(error))
            return
