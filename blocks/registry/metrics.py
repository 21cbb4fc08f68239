"""Metrics of trainings: exact figures, bounded curves."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import from_microseconds
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
_FINITE_CURVES = (
    "SELECT s.training_id, p.position, p.step, p.value FROM metric_series s JOIN metric_point p ON p.series_id = s.id "
    "WHERE s.name = :name AND s.training_id IN ({ids}) AND p.position < s.count - 1 AND p.value IS NOT NULL "
    "UNION ALL SELECT training_id, count - 1, last_step, last_value FROM metric_series "
    "WHERE name = :name AND training_id IN ({ids}) AND last_value IS NOT NULL ORDER BY training_id, position"
)
_AT_ONCE = 25
"""Trainings whose points are read together: all that are kept of so many are held in memory at once."""


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
        if at_most < LEAST_SPREAD:
            raise InvalidInputError(f"at_most {at_most}", "both ends and both extremes need room", "Ask for 4 or more.")
        points = [Point(**row) for row in self._reader.rows(_CURVE, id=training_id, name=name)]
        if not points:
            raise NotFoundError("metric", name)
        return [_report(name, point) for point in spread(points, at_most)]

    def finite_curves(
        self, training_ids: Sequence[str], name: str, at_most: int = 1000
    ) -> Iterator[tuple[str, dict[int, float]]]:
        """The finite values of one metric by step, of each of the trainings that has any.

        Of each curve at most this many points, ends and extremes among them; of several reports of a step the last.

        Raises:
            InvalidInputError: Fewer than 4 are asked for.
        """
        if at_most < LEAST_SPREAD:
            raise InvalidInputError(f"at_most {at_most}", "both ends and both extremes need room", "Ask for 4 or more.")
        for begin in range(0, len(training_ids), _AT_ONCE):
            ids = {f"id_{n}": id for n, id in enumerate(training_ids[begin : begin + _AT_ONCE])}
            sql = _FINITE_CURVES.format(ids=", ".join(f":{key}" for key in ids))
            for training_id, rows in groupby(self._reader.rows(sql, name=name, **ids), itemgetter("training_id")):
                points = [Point(row["position"], row["step"], row["value"], "", 0, 0) for row in rows]
                yield (
                    training_id,
                    {point.step: point.value for point in spread(points, at_most) if point.value is not None},
                )


def _report(name: str, point: Point) -> MetricPoint:
    return MetricPoint(
        name=name,
        value=point.value,
        text=point.text,
        step=point.step,
        rank=point.rank,
        at=from_microseconds(point.at_us),
    )
