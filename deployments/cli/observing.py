"""Watching a training while its flow runs in the same process: what happens goes to a display."""

import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from blocks.cluster.base import Selector
from blocks.connections.platform import open_platform
from blocks.domain.errors import MakerflowError, NotFoundError
from deployments.cli.training_logs import stored_lines

if TYPE_CHECKING:
    from blocks.cluster.base import Cluster
    from blocks.domain.plan import RunHandle
    from blocks.registry.records import Training
    from deployments.cli.progress import Display

LOOK_AGAIN_SECONDS = 0.2
METRICS_SECONDS = 1.0
CHUNK_BYTES = 2**20


class Observer(threading.Thread):
    """Shows a training on a display for as long as its block lasts, then what is left to show.

    It only reads, so whatever goes wrong here is told once and does the training no harm.

    Args:
        find: The row; None as long as there is none.
        display: Where it is shown.
    """

    def __init__(self, find: Callable[[], "Training | None"], display: "Display") -> None:
        super().__init__(name="observer", daemon=True)
        self._find, self._display = find, display
        self._over = threading.Event()
        self._cursor = 0

    def __enter__(self) -> "Observer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Until the flow is over."""
        try:
            row = self._wait_for(lambda row: True)
            if row is None:
                return
            self._display.status(row)
            row = self._wait_for(lambda row: row.handle is not None)
            if row is not None and row.handle is not None:
                self._watch(row, row.handle)
        except MakerflowError as error:
            self._display.note(f"The progress cannot be shown any longer: {error}")

    def _wait_for(self, ready: "Callable[[Training], bool]") -> "Training | None":
        while True:
            over = self._over.is_set()
            row = self._find()
            if row is not None and ready(row):
                return row
            if over:
                return None
            self._over.wait(LOOK_AGAIN_SECONDS)

    def _watch(self, row: "Training", handle: "RunHandle") -> None:
        platform = open_platform()
        self._cursor = row.log_cursors.get(0, 0)
        next_look = 0.0
        for event in platform.cluster.watch(Selector(run_id=handle.run_id), idle_seconds=LOOK_AGAIN_SECONDS):
            over = self._over.is_set()
            if event is not None:
                self._display.event(event)
                next_look = 0.0
            self._read_output(platform.cluster, handle)
            if monotonic() >= next_look or over:
                next_look = monotonic() + METRICS_SECONDS
                self._display.status(platform.registry.trainings.get(row.id))
                self._display.metrics(platform.registry.metrics.names(row.id))
            if over and event is None:
                self._read_rest(platform.registry.trainings.get(row.id))
                return

    def _read_output(self, cluster: "Cluster", handle: "RunHandle") -> None:
        """Show what worker 0 has printed since the last look."""
        try:
            while True:
                lines, cursor = cluster.read_output(handle, 0, since=self._cursor, at_most=CHUNK_BYTES)
                if cursor == self._cursor:
                    return
                self._cursor = cursor
                self._display.output(lines.decode(errors="replace").splitlines())
        except NotFoundError:
            return  # removed: the rest is beside the output

    def _read_rest(self, row: "Training") -> None:
        """Show what the run had printed when it was removed, from where its log went."""
        if row.logs_uploaded:
            self._display.output(stored_lines(row, 0, since=self._cursor))
