"""The life of a training or a tuning on the Logs tab of its flow run's page in the workflow UI, in a handful of lines.

What entry points print is not among it: it goes to the training's own logs, and is shown by `makerflow training logs`.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from time import monotonic

from prefect.logging.handlers import APILogHandler

from blocks.connections.platform import Platform
from blocks.domain.errors import MakerflowError
from blocks.domain.log_records import LogEntry, LogLevel
from blocks.domain.plan import Finished, RunEvent
from blocks.registry.records import Series
from tasks.current_run import has_page
from tasks.log_events import event_entries, move_entries

FIRST_METRICS_SECONDS = 10.0
MOST_METRICS = 20
"""In one line: a page is no place for hundreds."""

_page = logging.getLogger("makerflow.page")
_page.setLevel(logging.INFO)
_page.propagate = False  # a terminal in which somebody follows shows all of it in its own form
_page.addHandler(APILogHandler())


class PageLog:
    """What the page of one flow run has been told of its training or tuning."""

    def __init__(self, platform: Platform, training_id: str) -> None:
        self._registry = platform.registry
        self._training_id = training_id
        self._told = len(self._registry.trainings.history(training_id)) - 1  # how it stands is what it begins with
        self._warned = False
        self._pause = FIRST_METRICS_SECONDS
        self._next_metrics = monotonic() + self._pause

    def tell_moves(self) -> None:
        """The moves of its status that were not told yet."""
        moves = self._registry.trainings.history(self._training_id)[self._told :]
        self._told += len(moves)
        moves = [move for move in moves if not move.is_restart]  # its event is told
        for move, entry in zip(moves, move_entries(moves), strict=True):
            _tell(entry, move.at)

    def tell_event(self, event: RunEvent) -> None:
        """An event of its run, when it is worth a line, and what moved by it."""
        if isinstance(event, Finished):
            self._tell_last_metrics()
        for entry in event_entries(event):
            _tell(entry, event.at)
            self.tell_moves()

    def tell_metrics(self) -> None:
        """The latest metrics, each time after twice as long: a run of days has a dozen such lines."""
        if monotonic() < self._next_metrics:
            return
        self._pause *= 2
        self._next_metrics = monotonic() + self._pause
        self._tell_last_metrics()

    def warn(self, text: str) -> None:
        """Tell that no metric is found: once, also when the run is followed anew."""
        if not self._warned:
            self._warned = True
            _tell(LogEntry(LogLevel.WARNING, text), datetime.now(UTC))

    def _tell_last_metrics(self) -> None:
        if series := self._registry.metrics.names(self._training_id):
            _page.info(metrics_line(series))


_PAGE: ContextVar[PageLog | None] = ContextVar("page log", default=None)


def page_log() -> PageLog | None:
    """That of the current flow run; None where it has no page, or is about no training."""
    return _PAGE.get()


def tell_moves() -> None:
    """Tell the page of the current flow run, if it has one, the moves that it was not told yet."""
    if page := page_log():
        page.tell_moves()


@contextmanager
def told_on_page(platform: Platform, training_id: str) -> Iterator[None]:
    """Tell the page of the current flow run, if it has one, how the training, or tuning, goes on in the block."""
    if not has_page():
        yield
        return
    page = PageLog(platform, training_id)
    token = _PAGE.set(page)
    try:
        page.tell_moves()
        yield
    finally:
        _PAGE.reset(token)
        with suppress(MakerflowError):  # what ended the block is what counts
            page.tell_moves()


def metrics_line(series: Sequence[Series]) -> str:
    """`step 100: loss=0.25 accuracy=0.9`, with as many metrics as a line can hold."""
    shown = " ".join(f"{one.name}={one.last_text}" for one in series[:MOST_METRICS])
    more = f" and {len(series) - MOST_METRICS} more" if len(series) > MOST_METRICS else ""
    return f"step {max(one.last_step for one in series)}: {shown}{more}"


def tell_page(text: str, level: int = logging.INFO) -> None:
    """A line on the page of the current flow run, if it has one."""
    if has_page():
        _page.log(level, "%s", text)


def _tell(entry: LogEntry, at: datetime) -> None:
    level = logging.getLevelNamesMapping()[entry.level]
    record = _page.makeRecord(_page.name, level, __file__, 0, entry.body, (), None)
    record.created = at.timestamp()
    _page.handle(record)
