"""Curves of bounded size that do not lie: every spike survives, and what a series ever was can be told exactly.

The reports of a series are counted from 0. A *stride* of s means that of each s reports in a row (a bucket) the
lowest, the highest and the first that is no finite number are kept; beside them the very first report. Thinning what
was thinned to a multiple of the stride gives what thinning all reports would have given: it can be done as they come.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

CAPACITY = 4096
"""Points kept of one series at most."""

LEAST_SPREAD = 4
"""The first, the last, the lowest and the highest point are always shown."""


class Point(NamedTuple):
    """One report. `value` is None when it was not a finite number; `text` then says what it was."""

    position: int
    step: int
    value: float | None
    text: str
    at_us: int
    rank: int


def thin(points: Iterable[Point], stride: int) -> list[Point]:
    """What is kept of points in order of their positions; of equal values the first."""
    if stride == 1:
        return list(points)
    kept: list[Point] = []
    for _, bucket in groupby(points, key=lambda point: point.position // stride):
        kept += _extremes(list(bucket))
    return kept


def settle(points: list[Point], stride: int) -> tuple[list[Point], int]:
    """The points and the stride when there are few enough; else thinned until a quarter of the room is free."""
    if len(points) > CAPACITY:
        while len(points) > CAPACITY * 3 // 4:
            stride *= 2
            points = thin(points, stride)
    return points, stride


def spread(points: Sequence[Point], at_most: int) -> list[Point]:
    """At most this many (at least `LEAST_SPREAD`) of the points, evenly chosen, extremes and both ends included."""
    if len(points) <= at_most:
        return list(points)
    finite = [point for point in points if point.value is not None]
    shown = {points[0], points[-1], *_lowest_and_highest(finite)}
    per_bucket = 2 if len(finite) == len(points) else 3
    buckets = (at_most - LEAST_SPREAD) // per_bucket
    if buckets:
        width = -(-len(points) // buckets)
        for begin in range(0, len(points), width):
            shown.update(_extremes(points[begin : begin + width], origin=False))
    return sorted(shown)


def _extremes(bucket: Sequence[Point], *, origin: bool = True) -> list[Point]:
    kept = set(_lowest_and_highest([point for point in bucket if point.value is not None]))
    kept.update([point for point in bucket if point.value is None][:1])
    if origin and bucket[0].position == 0:
        kept.add(bucket[0])
    return sorted(kept, key=lambda point: point.position)


def _lowest_and_highest(finite: Sequence[Point]) -> tuple[Point, ...]:
    if not finite:
        return ()
    return min(finite, key=_value), max(finite, key=_value)


def _value(point: Point) -> float:
    assert point.value is not None  # noqa: S101 - for the type checker: only finite points are compared
    return point.value
