"""A watch over the metrics of a run: it warns once when a minute of output has reported none, or not the one sought."""

from collections.abc import Callable, Sequence
from time import monotonic

from blocks.domain.metric_hints import Diagnosis, Hints
from blocks.domain.metrics import MetricPoint

WARN_AFTER_SECONDS = 60.0


class MetricWatch:
    """Looks at the output of one worker and at what was read from it, as long as the metric is not found.

    Args:
        sought: The metric's name, e.g. that of a tuning's objective; empty for any metric.
        expressions: Those that read the output.
        found: Whether it was found already, by who followed the run before.
        earlier: Whether there was output before, which is not looked at again.
        clock: Seconds that go on evenly.

    Raises:
        InvalidInputError: An expression is refused.
    """

    def __init__(
        self,
        sought: str = "",
        expressions: Sequence[str] = (),
        *,
        found: bool = False,
        earlier: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._hints = Hints(sought, expressions, earlier=earlier)
        self._hints.found = found
        self._clock = clock
        self._warn_at: float | None = None
        self._warned: Diagnosis | None = None

    @property
    def found(self) -> bool:
        """Whether a finite number of it was reported."""
        return self._hints.found

    @property
    def standing(self) -> Diagnosis | None:
        """What was warned of, unless it was found since."""
        return None if self.found else self._warned

    def look(self, data: bytes, points: Sequence[MetricPoint]) -> None:
        """Look at whole lines of output and at the points that were read from them; free once it is found."""
        if data and self._warn_at is None:
            self._warn_at = self._clock() + WARN_AFTER_SECONDS
        if not self.found:
            self._hints.look(data, ((point.name, point.text) for point in points))

    def warning(self) -> Diagnosis | None:
        """Why it is not found, a minute after the first output; given once."""
        due = self._warn_at is not None and self._clock() >= self._warn_at
        if self.found or self._warned or not due:
            return None
        self._warned = self._hints.diagnosis()
        return self._warned

    def diagnosis(self) -> Diagnosis:
        """Why it was not found, as far as the output tells: the reason of METRICS_UNAVAILABLE."""
        return self._hints.diagnosis()
