"""`makerflow training logs`."""

import pytest

from blocks.domain.plan import LogLine
from deployments.cli.training_logs import _Cursor

NOTE = "[makerflow: the end of the output of attempt 1 may be missing here]"


def line(text, cursor, *, is_note=False):
    return LogLine(rank=0, text=text, cursor=cursor, is_note=is_note)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_that_the_end_is_missing_is_said_once_however_often_it_is_come_to(cut):
    lines = [line("a", 2), line("b", 4)]
    there, new = lines[:cut], lines[cut:]
    cursor = _Cursor()
    shown = list(cursor.pass_over([*there, line(NOTE, there[-1].cursor if there else 0, is_note=True)]))
    shown += cursor.pass_over([*new, line(NOTE, 4, is_note=True)])
    assert shown == [*(each.text for each in there), NOTE, *(each.text for each in new)]
    assert cursor.offset == 4


def test_each_attempt_has_its_own_note_and_every_line_of_output_is_shown():
    cursor, later = _Cursor(), NOTE.replace("1", "2")
    shown = list(cursor.pass_over([line("a", 2), line("a", 2), line(NOTE, 2, is_note=True)]))
    shown += cursor.pass_over([line(NOTE, 100, is_note=True), line("a", 102), line(later, 102, is_note=True)])
    assert shown == ["a", "a", NOTE, "a", later]
