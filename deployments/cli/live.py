"""The live display on a terminal."""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from deployments.cli.documents import SERIES_HEADINGS, series_row
from deployments.cli.fields import duration_text, size_text
from deployments.cli.output import clean
from deployments.cli.progress import event_text
from deployments.cli.subjects import Row

if TYPE_CHECKING:
    from blocks.domain.plan import Finished, RunEvent, Staging, Started
    from blocks.registry.records import Series

TAIL_LINES = 8
SHOWN_METRICS = 8
REFRESH_PER_SECOND = 4


class Picture(ABC):
    """Draws itself a few times a second, whatever comes in meanwhile; `draw` it once all of it is there.

    Args:
        console: Where.
        name: Of what is shown.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._lock = threading.Lock()
        self._name, self._status = name, "starting"
        self._notes: deque[str] = deque(maxlen=4)
        self._console = console
        self._live: Live | None = None

    def draw(self) -> None:
        """Begin."""
        # It sees the process's own stdout and stderr too, so that a warning does not tear the picture.
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=REFRESH_PER_SECOND)
        self._live.start()

    def status(self, row: Row) -> None:
        """Show it in the first line."""
        with self._lock:
            self._status = row.status.value

    def note(self, message: str) -> None:
        """Show it below the first lines."""
        with self._lock:
            self._notes.append(message)

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def parts(self) -> list[RenderableType]:
        """What is to be seen, from above; nothing changes meanwhile."""

    def _render(self) -> RenderableType:
        with self._lock:
            return Group(*self.parts())

    def _head(self, *more: str) -> Text:
        return Text.assemble((clean(self._name), "bold"), "  ", self._status, *more)

    def _noted(self) -> list[RenderableType]:
        return [Text(clean(note), style="yellow") for note in self._notes]


class LiveDisplay(Picture):
    """A training: stage bars, the metric table, the last lines of output."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console, name)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._series: Sequence[Series] = ()
        self._deadline: datetime | None = None
        self._stages = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        self._tasks = {
            stage: self._stages.add_task(label, start=False, total=None, detail="") for stage, label in STAGES.items()
        }
        self.draw()

    def event(self, event: "RunEvent") -> None:
        """Move the bars."""
        with self._lock:
            match event.kind:
                case "staging":
                    self._stage(event)
                case "started":
                    self._start(event)
                case "finished":
                    self._deadline = None
                    self._end(event)
                case "exited" | "uploaded" | "usage":
                    pass
                case _:
                    self._notes.append(event_text(event))

    def output(self, lines: Iterable[str]) -> None:
        """Keep the last ones."""
        with self._lock:
            self._tail.extend(clean(line) for line in deque(lines, TAIL_LINES))

    def metrics(self, series: Sequence["Series"]) -> None:
        """Show the first few."""
        with self._lock:
            self._series = tuple(series)

    def _stage(self, event: "Staging") -> None:
        task = self._begin(event.step)
        detail = size_text(event.done_bytes) if event.step == "inputs" else ""
        if event.cached_bytes:
            detail += f" ({size_text(event.cached_bytes)} from the cache)"
        total = event.total_bytes or None
        self._stages.update(task, completed=event.done_bytes, total=total, detail=detail)
        if event.finished:
            self._finish(event.step)

    def _start(self, event: "Started") -> None:
        for stage in ("inputs", "environment"):
            self._finish(stage)
        self._deadline = event.deadline
        self._begin("training")

    def _end(self, event: "Finished") -> None:
        if event.cause.value == "ok":
            self._finish("training")
        else:
            for task in self._tasks.values():
                self._stages.stop_task(task)
            self._stages.update(self._tasks["training"], detail=event.cause.value)

    def _begin(self, stage: str) -> TaskID:
        task = self._tasks[stage]
        if self._stages.tasks[task].start_time is None:
            self._stages.start_task(task)
        return task

    def _finish(self, stage: str) -> None:
        task = self._begin(stage)
        total = self._stages.tasks[task].total or 1
        self._stages.update(task, total=total, completed=total)

    def parts(self) -> list[RenderableType]:
        """As promised."""
        found: list[RenderableType] = [self._head(self._time_left()), self._stages, *self._noted()]
        if self._series:
            found.append(self._metric_table())
        return found + [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._tail]

    def _time_left(self) -> str:
        if self._deadline is None:
            return ""
        left = (self._deadline - datetime.now(UTC)).total_seconds()
        return f"  ({duration_text(max(left, 0))} left at most)"

    def _metric_table(self) -> Table:
        table = Table(*SERIES_HEADINGS, box=None, pad_edge=False, header_style="bold")
        for one in self._series[:SHOWN_METRICS]:
            table.add_row(*(clean(cell) for cell in series_row(one)))
        return table


STAGES = {"inputs": "staging", "environment": "environment", "training": "training"}
"""What a run goes through, each with a bar; the first two are the `step` of a staging event."""
