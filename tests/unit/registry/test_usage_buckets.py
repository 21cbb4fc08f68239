from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.registry.usage_buckets import Bucket, condense, halve, merge


def samples(values: Sequence[float], seconds: Sequence[float] | None = None) -> list[Bucket]:
    """One bucket a sample, of one kind."""
    return [
        Bucket(n, n, seconds[n] if seconds else 1.0, {"cpu": value}, {"cpu": value}) for n, value in enumerate(values)
    ]


def test_a_mean_is_over_time_and_a_highest_value_is_never_lost() -> None:
    both = merge(samples([100.0, 10.0], [1.0, 9.0]), 0)

    assert (both.means, both.maxima, both.seconds, both.at_us) == ({"cpu": 19.0}, {"cpu": 100.0}, 10.0, 1)


def test_a_kind_that_is_measured_now_and_then_counts_only_where_it_was() -> None:
    some = Bucket(1, 1, 3.0, {"gpu": 50.0}, {"gpu": 60.0})

    both = merge([*samples([4.0]), some], 0)

    assert (both.means, both.maxima) == ({"cpu": 4.0, "gpu": 50.0}, {"cpu": 4.0, "gpu": 60.0})


def test_there_may_be_nothing_to_condense() -> None:
    assert condense([], 10) == []


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=70), st.integers(1, 80))
def test_however_they_are_condensed_mean_and_highest_of_all_stay(values: list[float], at_most: int) -> None:
    few = condense(samples(values), at_most)

    assert len(few) <= at_most
    assert [bucket.position for bucket in few] == list(range(len(few)))
    assert max(bucket.maxima["cpu"] for bucket in few) == max(values)
    whole = merge(few, 0)
    assert whole.seconds == len(values)
    assert whole.means["cpu"] == pytest.approx(sum(values) / len(values))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=70))
def test_halving_leaves_half_of_the_buckets_and_all_of_the_time(values: list[float]) -> None:
    half = halve(samples(values))

    assert [bucket.position for bucket in half] == list(range(-(-len(values) // 2)))
    assert sum(bucket.seconds for bucket in half) == len(values)
