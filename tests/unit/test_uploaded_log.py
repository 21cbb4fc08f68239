"""A worker's uploaded log: where the output of an attempt is in it, and what of that is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.cluster.uploaded_log import BEGINS, DROPPED, UploadedLog

OpenLog = Callable[[bytes, int], UploadedLog]
TWO, THREE = BEGINS % 2, BEGINS % 3
GAP = DROPPED % (100, 64)


@pytest.fixture
def open_log(tmp_path: Path) -> OpenLog:
    def open_log(content: bytes, attempt: int) -> UploadedLog:
        (tmp_path / "log").write_bytes(content)
        with (tmp_path / "log").open("rb") as file:
            return UploadedLog(file, attempt)

    return open_log


@pytest.mark.parametrize(
    ("log", "place", "rest"),
    [
        pytest.param(b"", (1, 0), b"", id="nothing"),
        pytest.param(b"a\nb\n", (1, 0), b"a\nb\n", id="all"),
        pytest.param(b"a\nb\n", (1, 2), b"b\n", id="the rest"),
        pytest.param(b"a\nb\n", (1, 4), b"", id="no more"),
        pytest.param(b"a\nb\n", (1, 9), b"", id="uploaded before all was printed"),
        pytest.param(b"a\n" + TWO + b"b\nc\n", (2, 2), b"c\n", id="of a later attempt"),
        pytest.param(b"a\n" + TWO + b"b\n", (1, 9), TWO + b"b\n", id="behind an attempt whose end it lacks"),
        pytest.param(b"a\n" + TWO + b"b\n" + THREE + b"c\n", (3, 0), b"c\n", id="of the last one"),
        pytest.param(b"a\n" + THREE + b"c\n", (2, 5), THREE + b"c\n", id="of one that had uploaded nothing"),
        pytest.param(b"a\n", (2, 5), b"", id="of a last one that had uploaded nothing"),
        pytest.param(b"a\n" + GAP + b"b\nc\n", (1, 104), b"c\n", id="behind a gap"),
        pytest.param(b"a\n" + GAP + b"b\nc\n", (1, 50), b"b\nc\n", id="within it"),
        pytest.param(b"a\n" + GAP + b"b\n", (1, 2), GAP + b"b\n", id="at its beginning"),
        pytest.param(GAP + b"b\n" + TWO + b"c\n", (2, 0), b"c\n", id="of a later attempt behind one with a gap"),
        pytest.param(b"a\n" + GAP + b"b\n" + GAP + b"c\nd\n", (1, 206), b"d\n", id="behind two"),
        pytest.param(b"a\n" + GAP + b"b\n" + TWO + b"c\nd\n", (2, 2), b"d\n", id="that another attempt has"),
    ],
)
def test_it_goes_on_where_the_cluster_left_off(
    open_log: OpenLog, log: bytes, place: tuple[int, int], rest: bytes
) -> None:
    attempt, position = place
    assert log[open_log(log, attempt).offset_of(position) :] == rest


@pytest.mark.parametrize(
    ("log", "place", "found"),
    [
        pytest.param(b"", (1, 0), (b"", 0), id="nothing"),
        pytest.param(b"a\nb\nc\n", (1, 2), (b"b\nc\n", 6), id="the rest"),
        pytest.param(b"a\nb\nc", (1, 2), (b"b\n", 4), id="not a line that may lack its end"),
        pytest.param(b"a\nb\nc" + TWO + b"d\n", (1, 0), (b"a\nb\n", 4), id="nor one before the next attempt"),
        pytest.param(b"a\nb\n" + TWO + b"d\n", (1, 4), (b"", 4), id="nothing of the next attempt"),
        pytest.param(b"a\n" + TWO + b"b\nc\n", (2, 2), (b"c\n", 4), id="of a later attempt"),
        pytest.param(b"a\n" + THREE + b"b\n", (2, 0), (b"", 0), id="of one that had uploaded nothing"),
        pytest.param(b"a\n" + GAP + b"b\nc\n", (1, 0), (b"a\n", 2), id="to a gap"),
        pytest.param(b"a\n" + GAP + b"b\nc\n", (1, 2), (b"b\nc\n", 106), id="behind it"),
        pytest.param(b"123456789\n", (1, 0), (b"12345678\n", 8), id="a line that is too long is cut"),
        pytest.param(b"a\n12345678\n", (1, 0), (b"a\n", 2), id="whole lines"),
    ],
)
def test_an_attempts_output_is_read_in_pieces_of_whole_lines(
    open_log: OpenLog, log: bytes, place: tuple[int, int], found: tuple[bytes, int]
) -> None:
    attempt, position = place
    assert open_log(log, attempt).read(position, until=1000, at_most=8) == found


def test_a_part_is_read_to_its_end_and_nothing_of_what_was_dropped(open_log: OpenLog) -> None:
    log = open_log(b"a\nb\nc\n" + GAP + b"d\n", 1)
    assert log.read(2, until=4, at_most=100) == (b"b\n", 4)
    assert log.read(4, until=4, at_most=100) == (b"", 4)
    assert log.read(6, until=90, at_most=100)[0] == b""
