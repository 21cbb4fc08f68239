"""What expressions find in output that goes by, line by line, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from blocks.domain.metric_hints import Diagnosis, Hints
from blocks.domain.metrics import MetricReader, number
from deployments.cli.fields import value_text

HEADINGS = ("METRIC", "REPORTS", "LAST", "MIN", "MAX", "NOT FINITE")


@dataclass(frozen=True)
class Report:
    """A metric on a line, counted from 1."""

    line: int
    name: str
    text: str
    step: int

    def row(self) -> tuple[str, str, str, str]:
        """Line, step, name and value as printed."""
        return str(self.line), str(self.step), self.name, self.text

    def document(self) -> dict[str, Any]:
        """The same for `--json`; a value that is not finite is null."""
        return asdict(self) | {"value": number(self.text)}


@dataclass
class Tally:
    """A metric's figures over all of its reports."""

    count: int = 0
    not_finite: int = 0
    last: float | None = None
    last_text: str = ""
    last_step: int = 0
    min: float | None = None
    max: float | None = None

    def add(self, text: str, step: int) -> None:
        """Count one more."""
        value = number(text)
        self.count += 1
        self.last, self.last_text, self.last_step = value, text, step
        if value is None:
            self.not_finite += 1
            return
        self.min = value if self.min is None or value < self.min else self.min
        self.max = value if self.max is None or value > self.max else self.max

    def row(self, name: str) -> list[str]:
        """One line of a table; see `HEADINGS`."""
        low, high = ("" if value is None else value_text(value) for value in (self.min, self.max))
        return [name, str(self.count), self.last_text, low, high, str(self.not_finite or "")]


class Reading:
    """Reads output once.

    Args:
        expressions: A user's own; none for the default one.
        sought: The metric that is to be found; empty for any.
    """

    def __init__(self, expressions: Sequence[str], sought: str) -> None:
        self.tallies: dict[str, Tally] = {}
        self.not_shown = 0
        self._reader, self._line_reader = MetricReader(expressions), MetricReader(expressions)
        self._hints = Hints(sought, expressions)

    @property
    def found(self) -> bool:
        """Whether a finite number of what is sought was found."""
        return self._hints.found

    def diagnosis(self) -> Diagnosis:
        """Why it was not."""
        return self._hints.diagnosis()

    def reports(self, pieces: Iterable[bytes], at_most: int | None) -> Iterator[Report]:
        """The reports, of which only so many are given; the rest is read all the same."""
        line, given = 1, 0
        for piece in pieces:
            found = list(self._reader.reports(piece))
            self._hints.look(piece, ((name, text) for name, text, _ in found))
            for name, text, step in found:
                self.tallies.setdefault(name, Tally()).add(text, step)
            room = len(found) if at_most is None else min(at_most - given, len(found))
            if room:
                yield from self._by_line(piece, line, room)
            given += room
            self.not_shown += len(found) - room
            line += piece.count(b"\n")

    def document(self) -> dict[str, Any]:
        """What was found in all, for `--json`."""
        return {
            "not_shown": self.not_shown,
            "metrics": {name: asdict(tally) for name, tally in self.tallies.items()},
            "found": self.found,
            "diagnosis": None if self.found else self.diagnosis().model_dump(mode="json"),
        }

    def _by_line(self, piece: bytes, first: int, at_most: int) -> Iterator[Report]:
        """The first reports of a piece again, now with their lines: reading line by line is far slower.

        Its reader has seen all pieces before that have reports, so that it counts as the other one does.
        """
        for at, line in enumerate(piece.split(b"\n"), first):
            for name, text, step in self._line_reader.reports(line):
                yield Report(at, name, text, step)
                at_most -= 1
                if not at_most:
                    return
