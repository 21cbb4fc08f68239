"""Thinning as reports come gives what thinning all of them at once would give."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.registry import thinning
from blocks.registry.thinning import CAPACITY, LEAST_SPREAD, Point, settle, spread, thin

VALUES = st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False)))


def points_of(values: list[float | None], first: int = 0) -> list[Point]:
    return [Point(n, n, value, str(value), n, 0) for n, value in enumerate(values, first)]


def exactly_kept(points: list[Point], stride: int) -> list[Point]:
    """What the module's docstring says, computed the slow way."""
    if stride == 1:
        return points
    kept = set(points[:1])
    for bucket in {point.position // stride for point in points}:
        inside = [point for point in points if point.position // stride == bucket]
        finite = [point for point in inside if point.value is not None]
        for extreme in (min, max):
            if finite:
                value = extreme(point.value for point in finite if point.value is not None)
                kept.add(next(point for point in finite if point.value == value))
        kept.update([point for point in inside if point.value is None][:1])
    return sorted(kept, key=lambda point: point.position)


@given(values=VALUES, batches=st.lists(st.integers(1, 40)), capacity=st.integers(8, 40))
def test_thinning_as_they_come_keeps_what_thinning_all_would_keep(
    values: list[float | None], batches: list[int], capacity: int
) -> None:
    points = points_of(values)
    kept: list[Point] = []
    done, stride = 0, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinning, "CAPACITY", capacity)
        for size in [*batches, len(values)]:
            opened = done // stride * stride
            again = [point for point in kept if point.position >= opened]
            rest = kept[: len(kept) - len(again)]
            kept, stride = settle([*rest, *thin([*again, *points[done : done + size]], stride)], stride)
            done = min(len(points), done + size)
            assert len(kept) <= capacity
    assert kept == exactly_kept(points, stride)


@given(values=VALUES, stride=st.sampled_from([1, 2, 4, 8, 64]), factor=st.sampled_from([2, 4]))
def test_thinning_twice_is_thinning_once(values: list[float | None], stride: int, factor: int) -> None:
    points = points_of(values)
    assert thin(thin(points, stride), stride * factor) == thin(points, stride * factor)
    assert thin(thin(points, stride), stride) == thin(points, stride)


def test_a_full_series_is_thinned_until_a_quarter_of_the_room_is_free() -> None:
    points = points_of([math.sin(n) for n in range(CAPACITY + 1)])
    kept, stride = settle(points, 1)
    assert CAPACITY // 2 <= len(kept) <= CAPACITY * 3 // 4
    assert stride == 4
    assert settle(points[:CAPACITY], 1) == (points[:CAPACITY], 1)


@given(values=VALUES.filter(bool), at_most=st.integers(LEAST_SPREAD, 30))
def test_a_spread_shows_both_ends_and_both_extremes(values: list[float | None], at_most: int) -> None:
    points = points_of(values)
    shown = spread(points, at_most)
    assert len(shown) <= at_most
    assert shown == sorted(set(shown), key=lambda point: point.position)
    assert {points[0], points[-1]} <= set(shown) <= set(points)
    finite = [value for value in values if value is not None]
    if finite:
        assert {min(finite), max(finite)} <= {point.value for point in shown}
    if len(points) <= at_most:
        assert shown == points
