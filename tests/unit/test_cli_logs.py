"""`makerflow training logs`."""

import pytest

from blocks.domain.plan import LogLine
from deployments.cli.training_logs import _Cursor


def line(text, cursor):
    return LogLine(rank=0, text=text, cursor=cursor)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_that_the_end_is_missing_is_said_once_however_often_it_is_read(cut):
    lines, note = [line("a", 2), line("b", 4)], "[makerflow: the end may be missing]"
    there, new = lines[:cut], lines[cut:]
    cursor = _Cursor()
    shown = list(cursor.pass_over([*there, line(note, there[-1].cursor if there else 0)]))
    shown += cursor.pass_over([*new, line(note, 4)])
    assert shown == [*(each.text for each in there), note, *(each.text for each in new)]
    assert cursor.offset == 4


def test_it_is_said_when_only_who_follows_comes_to_it():
    cursor = _Cursor()
    assert list(cursor.pass_over([line("a", 2)])) == ["a"]
    assert list(cursor.pass_over([line("b", 4), line("cut", 4)])) == ["b", "cut"]
