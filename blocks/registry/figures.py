"""The figures of one metric over all of its reports: exact, however many there were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import to_microseconds
from blocks.registry.identity import storable
from blocks.registry.thinning import Point

MAX_TEXT = 64
_STEPS = range(-(2**63), 2**63)


@dataclass
class Figures:
    """A series as its row keeps it; `kept` points with this `stride` are kept beside it."""

    id: int
    training_id: str
    name: str
    stride: int = 1
    kept: int = 0
    count: int = 0
    not_finite: int = 0
    first_value: float | None = None
    first_step: int = 0
    last_value: float | None = None
    last_step: int = 0
    last_text: str = ""
    last_at_us: int = 0
    last_rank: int = 0
    min_value: float | None = None
    min_step: int | None = None
    max_value: float | None = None
    max_step: int | None = None

    def add(self, reports: Sequence[MetricPoint]) -> list[Point]:
        """Count reports, at least one; the same as points of this series."""
        points = [_point(position, report) for position, report in enumerate(reports, self.count)]
        if self.count == 0:
            self.first_value, self.first_step = points[0].value, points[0].step
        _, self.last_step, self.last_value, self.last_text, self.last_at_us, self.last_rank = points[-1]
        self.count += len(points)
        for point in points:
            self._compare(point)
        return points

    def _compare(self, point: Point) -> None:
        if point.value is None:
            self.not_finite += 1
            return
        if self.min_value is None or point.value < self.min_value:
            self.min_value, self.min_step = point.value, point.step
        if self.max_value is None or point.value > self.max_value:
            self.max_value, self.max_step = point.value, point.step


def _point(position: int, report: MetricPoint) -> Point:
    finite = report.value is not None and math.isfinite(report.value)
    step = report.step if report.step in _STEPS else position
    text = storable(report.text[:MAX_TEXT])
    return Point(position, step, report.value if finite else None, text, to_microseconds(report.at), report.rank)
