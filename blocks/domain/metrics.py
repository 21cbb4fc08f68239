"""Metrics: what an entry point reports by printing, as points of a name over steps."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from blocks.domain.expressions import (
    MAX_LINE_BYTES,
    MAX_OWN_LINE_BYTES,
    OwnExpression,
    default_reports,
    own_reports,
    plain_lines,
)
from blocks.domain.plan import Frozen

MAX_NAMES = 1000
"""Distinct names of one worker; further names are left out, so that a program that prints a new name on
each line can fill neither memory nor the registry."""

NOTE = b"[makerflow: "
"""So begins a line that says what is missing of the output; it is the platform's, and reports nothing."""

_NOTES = re.compile(rb"^" + re.escape(NOTE) + rb".*\n?", re.MULTILINE)
_NUMBER = re.compile(
    r"([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?:%|[A-Za-z]{1,3}(?:/[a-z]{1,3})?)?", re.ASCII
)


class MetricPoint(Frozen):
    """One report of one metric.

    Attributes:
        name: With its path, e.g. `train/loss`.
        value: None when what was printed is not a finite number: it is kept and shown, and never used as a number.
        text: As printed, e.g. `0.31`, `nan`, `93.5%`.
        step: As its line names it, else the count of this metric's reports, from 1.
        at: When it was read.
    """

    name: str
    value: float | None
    text: str
    step: int
    rank: int
    at: datetime

    @property
    def finite(self) -> bool:
        """Whether it can be used as a number."""
        return self.value is not None


class MetricReader:
    """Reads one worker's output, chunk by chunk. How the output is cut into chunks of whole lines changes nothing.

    Args:
        expressions: A user's own; none for the default one.
        rank: The worker.
        suffix: Appended to every name, to tell workers apart.
        state: What `state()` of an earlier reader gave: this one goes on counting from there.

    Raises:
        InvalidInputError: An expression is refused; see `OwnExpression`.
    """

    def __init__(
        self,
        expressions: Sequence[str] = (),
        *,
        rank: int = 0,
        suffix: str = "",
        state: Mapping[str, int] | None = None,
    ) -> None:
        self._own = [OwnExpression(expression) for expression in expressions]
        self._rank, self._suffix = rank, suffix
        self._counts = dict(state or {})

    def state(self) -> dict[str, int]:
        """Name to the number of its reports so far; small and JSON."""
        return dict(self._counts)

    def read(self, output: bytes, at: datetime) -> list[MetricPoint]:
        """The points in these whole lines (the last may lack its end), in order, all read at `at`.

        Output is cut at carriage returns too, and at 64 KiB, or at 8 KiB for a user's own expressions. Any bytes are
        fine.
        """
        return [
            MetricPoint(name=name, value=number(text), text=text, step=step, rank=self._rank, at=at)
            for name, text, step in self.reports(output)
        ]

    def reports(self, output: bytes) -> Iterator[tuple[str, str, int]]:
        """The same as name, value as printed, and step."""
        output = _NOTES.sub(b"", output) if NOTE in output else output
        lines = plain_lines(output, MAX_OWN_LINE_BYTES if self._own else MAX_LINE_BYTES)
        counts = self._counts
        for name, text, step in own_reports(self._own, lines) if self._own else default_reports(lines):
            key = name + self._suffix
            count = counts.get(key, 0) + 1
            if count == 1 and len(counts) >= MAX_NAMES:
                continue
            counts[key] = count
            yield key, text, count if step is None else step


def number(text: str) -> float | None:
    """The finite number that was printed, without its unit and its marks of thousands; None when there is none."""
    try:
        value = float(text)
    except ValueError:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None
        value = float(match[1].replace(",", "").replace("_", ""))
    return value if math.isfinite(value) else None


def check_expressions(expressions: Sequence[str]) -> None:
    """Refuse expressions that a reader could not use.

    Raises:
        InvalidInputError: It names the expression and says why, in RE2's words where they are RE2's.
    """
    for expression in expressions:
        OwnExpression(expression)
