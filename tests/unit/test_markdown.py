"""The pieces that reports are made of."""

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.markdown import chart

FINITE = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.req("TRN-12", "COM-08")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "values",
    [
        (8.3, 8.300000000000002, 8.299999999999999),  # what means over time make of a memory that is the same
        (0.1, math.nextafter(0.1, 1)),
        (1e17, math.nextafter(1e17, math.inf)),
        (-5.0, math.nextafter(-5.0, 0)),
        (0.0, -0.0),
        (1e300, math.nextafter(1e300, math.inf)),
    ],
)
def test_a_curve_whose_numbers_differ_in_the_last_digit_is_drawn(values: tuple[float, ...]) -> None:
    assert "data:image/svg+xml" in chart("loss", {"worker 0": list(enumerate(values)), "worker 1": [(0, values[0])]})
    assert "data:image/svg+xml" in chart("loss", {"loss": [(value, 1.0) for value in {0.0, *values}]})


@pytest.mark.timeout(60)
@pytest.mark.parametrize("values", [(0.0, 5e-324), (-sys.float_info.max, sys.float_info.max), (1e250, 1.0)])
def test_a_curve_that_reaches_further_than_can_be_drawn_is_left_out(values: tuple[float, ...]) -> None:
    assert chart("loss", {"loss": list(enumerate(values))}) == ""


@pytest.mark.timeout(60)
@settings(max_examples=30)
@given(st.lists(st.tuples(STEPS, FINITE), min_size=1, max_size=5))
def test_whatever_was_printed_drawing_it_ends(points: list[tuple[int, float]]) -> None:
    chart("loss", {"loss": points})
