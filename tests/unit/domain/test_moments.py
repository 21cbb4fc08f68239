"""Spans of time for people."""

import pytest

from blocks.domain.moments import minutes_text


@pytest.mark.parametrize(
    ("minutes", "text"), [(5 / 60, "5 seconds"), (1 / 60, "1 second"), (1, "1 minute"), (90, "90 minutes")]
)
def test_minutes_are_told_in_a_unit_that_can_be_read(minutes: float, text: str) -> None:
    assert minutes_text(minutes) == text
