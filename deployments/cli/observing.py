"""Watching something while its flow runs in the same process: what happens goes to a display."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self

from blocks.cluster.base import Selector
from blocks.connections.platform import open_platform
from blocks.domain.errors import MakerflowError, NotFoundError, TransientError
from blocks.domain.lifecycle import TrainingStatus
from blocks.registry.records import Training
from deployments.cli.subjects import Display, RowT
from deployments.cli.training_logs import stored_lines
from tasks.output_reading import OutputReader

if TYPE_CHECKING:
    from blocks.domain.plan import RunHandle
    from deployments.cli.progress import TrainingDisplay

LOOK_AGAIN_SECONDS = 0.2
METRICS_SECONDS = 1.0
MOVE_SECONDS = 0.02
TRY_AGAIN_SECONDS = 1.0
CHUNK_BYTES = 2**20


class Observer(threading.Thread, ABC):
    """Shows something on a display for as long as its block lasts, then what is left to show.

    It only reads, so whatever goes wrong here is told once and does no harm; what may pass, as a database that is away,
    is waited for.

    Args:
        tell: Shows a message.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(name="observer", daemon=True)
        self._tell = tell
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Until the flow is over."""
        told = ""
        try:
            while True:
                over = self._over.is_set()
                trouble = self._trouble()
                if not trouble or over:
                    return
                if trouble != told:
                    self._tell(f"The progress cannot be shown for now, it is tried again: {trouble}")
                    told = trouble
                self._over.wait(TRY_AGAIN_SECONDS)
        except MakerflowError as error:
            self._tell(f"The progress cannot be shown any longer: {error}")

    @abstractmethod
    def show(self) -> None:
        """Show all, from what was shown last, until `over`.

        Raises:
            MakerflowError: What stands in the way.
        """

    def _trouble(self) -> str:
        """What stands in the way of showing for now, empty once there is no more to show."""
        try:
            self.show()
        except TransientError as error:
            return str(error)
        return ""


class StatusLine(Generic[RowT]):
    """Shows where something stands, and why it still stands there when that changes."""

    def __init__(self, display: Display[RowT]) -> None:
        self._display = display
        self._status, self._reason = "", ""

    def show(self, row: RowT) -> None:
        """Show it as it is now."""
        self._display.status(row)
        if row.status == self._status and row.reason != self._reason:
            self._display.note(row.reason)
        self._status, self._reason = row.status, row.reason


class TrainingObserver(Observer):
    """Shows a training.

    Args:
        find: The row; None as long as there is none.
        display: Where it is shown.
    """

    def __init__(self, find: Callable[[], "Training | None"], display: "TrainingDisplay") -> None:
        super().__init__(display.note)
        self._find, self._display = find, display
        self._cursor = 0
        self._events = 0

    def __enter__(self) -> Self:
        """Of one that is gone on with, show what nobody has followed yet: its flow has not begun now."""
        with suppress(MakerflowError):  # told by `show`
            if (row := self._find()) is not None:
                self._cursor = row.log_cursors.get(0, 0)
        return super().__enter__()

    def show(self) -> None:
        """As promised."""
        row = self._wait_for_run()
        if row is not None and row.handle is not None:
            self._watch(row, row.handle)

    def _wait_for_run(self) -> "Training | None":
        """The row once it has a run; meanwhile how it stands, and why it still has none."""
        line = StatusLine[Training](self._display)
        while True:
            over = self._over.is_set()
            row = self._find()
            if row is not None and row.handle is not None:
                self._display.status(row)  # why it stands there is what its events tell
                return row
            if row is not None:
                line.show(row)
            if over:
                return row
            self._over.wait(LOOK_AGAIN_SECONDS)

    def _watch(self, row: "Training", handle: "RunHandle") -> None:
        platform = open_platform()
        output = OutputReader(platform, handle)
        selector, since = Selector(run_id=handle.run_id), {handle.run_id: self._events}
        next_look = 0.0
        for event in platform.cluster.watch(selector, since, idle_seconds=LOOK_AGAIN_SECONDS):
            over = self._over.is_set()
            if event is not None:
                self._display.event(event)
                self._events = event.sequence
                next_look = 0.0
                if event.kind == "started":
                    self._wait_for_move(row.id)
            self._read_output(output)
            if monotonic() >= next_look or over:
                next_look = monotonic() + METRICS_SECONDS
                self._display.status(platform.registry.trainings.get(row.id))
                self._display.metrics(platform.registry.metrics.names(row.id))
            if over and event is None:
                self._read_rest(platform.registry.trainings.get(row.id))
                return

    def _wait_for_move(self, id: str) -> None:
        """Let who follows it take note that its workers have started: how they end is told after that."""
        until = monotonic() + METRICS_SECONDS
        trainings = open_platform().registry.trainings
        while trainings.get(id).status is TrainingStatus.CREATE_IN_PROGRESS and monotonic() < until:
            if self._over.wait(MOVE_SECONDS):
                return

    def _read_output(self, output: OutputReader) -> None:
        """Show what worker 0 has printed since the last look."""
        try:
            while (read := output.read(0, self._cursor, CHUNK_BYTES))[1] != self._cursor:
                lines, self._cursor = read
                self._display.output(lines.decode(errors="replace").splitlines())
        except NotFoundError:
            return  # removed: the rest is beside the output

    def _read_rest(self, row: "Training") -> None:
        """Show what the run had printed when it was removed, from where its log went."""
        if row.logs_uploaded:
            self._display.output(stored_lines(row, 0, self._cursor))
