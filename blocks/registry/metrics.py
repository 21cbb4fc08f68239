"""Metrics of trainings: exact figures, bounded curves."""

from collections.abc import Iterator, Sequence

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import from_microseconds
from blocks.registry.curves import finite_curves
from blocks.registry.reading import Reader
from blocks.registry.records import Series
from blocks.registry.sessions import Sessions
from blocks.registry.thinning import LEAST_SPREAD, Point, spread

_SERIES = (
    "SELECT name, count, not_finite, first_value AS first, first_step, last_value AS last, last_step, last_text, "
    "min_value AS min, min_step, max_value AS max, max_step FROM metric_series WHERE training_id = :id ORDER BY id"
)
_CURVE = (
    "SELECT p.position, p.step, p.value, p.text, p.at_us, p.rank FROM metric_point p "
    "JOIN metric_series s ON s.id = p.series_id "
    "WHERE s.training_id = :id AND s.name = :name AND p.position < s.count - 1 "
    "UNION ALL SELECT count - 1, last_step, last_value, last_text, last_at_us, last_rank FROM metric_series "
    "WHERE training_id = :id AND name = :name ORDER BY position"
)
"""One statement, so that no report comes between the points and the last one."""


class Metrics:
    """Reports of metrics, in order, by training and name.

    At most 1,000 names of a training are kept, and 4,096 points of each: of more, the lowest and highest of equal
    stretches, and the first in each that is not finite. What is not finite is counted and shown, never computed with.
    """

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def append(self, training_id: str, points: Sequence[MetricPoint]) -> int:
        """Add reports, in order; how many were refused because there are too many names, or theirs is too long.

        Who follows a run uses `Trainings.follow` instead, which keeps how far it has read in the same transaction.

        Raises:
            NotFoundError: There is no such training.
        """
        with self._sessions.begin() as write:
            refused = write.metrics.append(training_id, points)
            if refused:
                write.trainings.refuse_points(training_id, refused)
        return refused

    def names(self, training_id: str) -> list[Series]:
        """The figures of each metric, in the order in which they were first reported."""
        return [Series(**row) for row in self._reader.rows(_SERIES, id=training_id)]

    def curve(self, training_id: str, name: str, at_most: int = 1000) -> list[MetricPoint]:
        """At most this many points in order: the first, the last, the lowest and the highest of all are among them.

        Raises:
            InvalidInputError: Fewer than 4 are asked for.
            NotFoundError: The training has no such metric.
        """
        _check(at_most)
        points = self._kept(training_id, name)
        if not points:
            raise NotFoundError("metric", name)
        return [_report(name, point) for point in spread(points, at_most)]

    def numbered(self, training_id: str, name: str) -> list[tuple[int, MetricPoint]]:
        """All points that are kept, each with which report it was, from 1; the last report is among them."""
        return [(point.position + 1, _report(name, point)) for point in self._kept(training_id, name)]

    def finite_curves(
        self, training_ids: Sequence[str], name: str, at_most: int = 1000
    ) -> Iterator[tuple[str, dict[int, float]]]:
        """Of each of the trainings that has any: the finite values of one metric by step.

        Of each curve at most this many points, ends and extremes among them; of several reports of a step the last. The
        time that it takes does not depend on how long the curves are.

        Raises:
            InvalidInputError: Fewer than 4 are asked for.
        """
        _check(at_most)
        return finite_curves(self._reader, training_ids, name, at_most)

    def _kept(self, training_id: str, name: str) -> list[Point]:
        return [Point(**row) for row in self._reader.rows(_CURVE, id=training_id, name=name)]


def _check(at_most: int) -> None:
    if at_most < LEAST_SPREAD:
        raise InvalidInputError(f"at_most {at_most}", "both ends and both extremes need room", "Ask for 4 or more.")


def _report(name: str, point: Point) -> MetricPoint:
    return MetricPoint(
        name=name,
        value=point.value,
        text=point.text,
        step=point.step,
        rank=point.rank,
        at=from_microseconds(point.at_us),
    )
