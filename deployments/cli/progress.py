"""How progress is shown: as plain lines, or live on a terminal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar

from blocks.registry.records import Training
from deployments.cli.documents import time_text
from deployments.cli.fields import count_text, size_text, value_text
from deployments.cli.output import clean, clean_block
from deployments.cli.subjects import Display, Row

if TYPE_CHECKING:
    from rich.console import Console

    from blocks.domain.plan import ExitRecord, RunEvent
    from blocks.registry.records import Series


class TrainingDisplay(Display[Training], Protocol):
    """Where a training is shown."""

    def event(self, event: "RunEvent") -> None:
        """What happened to its run."""

    def output(self, lines: Iterable[str]) -> None:
        """What worker 0 printed."""

    def metrics(self, series: Sequence["Series"]) -> None:
        """All metrics as they are now."""


DisplayT = TypeVar("DisplayT", bound=Display[Any])


@contextmanager
def open_display(
    stream: TextIO, plain: Callable[[TextIO], DisplayT], live: "Callable[[Console], DisplayT]"
) -> Iterator[DisplayT]:
    """The display that suits a stream: live on a terminal, else plain lines."""
    if stream.isatty():
        from rich.console import Console

        display = live(Console(file=stream, markup=False, emoji=False, highlight=False))
    else:
        display = plain(stream)
    try:
        yield display
    finally:
        display.close()


class PlainLines:
    """One line for each thing that happens: for pipes, files and CI."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._status = self._said = ""

    def status(self, row: Row) -> None:
        """Print it when it is another than before."""
        if row.status != self._status:
            self._status, self._said = row.status, row.reason
            self._print(f"[{row.name}] {row.status.value}" + (f": {row.reason}" if row.reason else ""))

    def note(self, message: str) -> None:
        """Print it, unless it has just been said."""
        if message != self._said:
            self._said = message
            self._print(f"[makerflow] {message}")

    def close(self) -> None:
        """Print nothing any more."""
        self._stream = None

    def _print(self, text: str) -> None:
        try:
            if self._stream is not None:
                print(clean_block(text), file=self._stream, flush=True)
        except OSError:
            self._stream = None  # nobody reads, or its disk is full: what is followed goes on


class PlainDisplay(PlainLines):
    """A training as plain lines.

    Args:
        stream: Where they go.
        with_output: Whether they include what the workers print.
    """

    def __init__(self, stream: TextIO, *, with_output: bool) -> None:
        super().__init__(stream)
        self._with_output = with_output

    def event(self, event: "RunEvent") -> None:
        """Print one line for it, if it is worth one."""
        line = event_text(event)
        if line:
            self.note(line)

    def output(self, lines: Iterable[str]) -> None:
        """Print them, if asked to."""
        if self._with_output:
            for line in lines:
                self._print(line)

    def metrics(self, series: Sequence["Series"]) -> None:
        """Nothing: they are in the output already, and in the table at the end."""


def event_text(event: "RunEvent") -> str:
    """One line for an event; empty for progress that only a live display shows."""
    match event.kind:
        case "queued":
            return event.reason
        case "placed":
            return f"placed on {event.where}"
        case "staging":
            return _staging_text(event.step, event.done_bytes, event.cached_bytes) if event.finished else ""
        case "started":
            return f"training, attempt {event.attempt}, until {time_text(event.deadline)} at most"
        case "restarted":
            return event.said
        case "exited":
            return _exit_text(event.record)
        case "checkpointed":
            return f"checkpoint {event.path} ({size_text(event.size)})"
        case "uploaded" if event.files:
            amount = f"{count_text(event.files, 'file')}, {size_text(event.bytes)}"
            return f"uploaded {event.output.value}: {amount} to {event.path}"
        case "uploaded" | "finished" | "usage":  # nothing was uploaded of a run that ended before it printed anything
            return ""


def metric_line(one: "Series") -> str:
    """A metric's last value."""
    return f"{clean(one.name)} {one.last_text if one.last is None else value_text(one.last)}"


def _exit_text(record: "ExitRecord") -> str:
    """How a worker ended, with what the installer printed where that is told nowhere else."""
    cause = record.cause.value
    why = "" if cause in ("ok", "stopped") else f" ({cause})"  # their sentences say no less
    text = f"worker {record.rank} ended{why}: {record.message or cause}"
    printed = record.tail.strip() if cause == "environment_failed" else ""
    return text if printed in record.message else f"{text}\n{printed}"


def _staging_text(step: str, done_bytes: int, cached_bytes: int) -> str:
    if step == "environment":
        return "environment ready"
    cached = f", {size_text(cached_bytes)} of it from the cache" if cached_bytes else ""
    return f"inputs staged: {size_text(done_bytes)}{cached}"
