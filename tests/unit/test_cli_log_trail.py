"""Where the uploaded log goes on behind what was read, whatever the cursors are."""

from pathlib import Path

import pytest

from deployments.cli import log_trail
from deployments.cli.log_trail import LogTrail

Parts = list[tuple[bytes, int, int]]
"""What was read, and the attempt and position behind it."""


def rest(
    log: bytes, parts: Parts, path: Path, trail: LogTrail | None = None, *, is_all: bool = False
) -> tuple[bytes, bool]:
    """What of a log is still to be shown, and whether that is certain."""
    trail = trail or LogTrail()
    for part in parts:
        trail.add(*part)
    if is_all:
        trail.end()
    (path / "log").write_bytes(log)
    with (path / "log").open("rb") as stream:
        offset, is_certain = trail.find_in(stream)
    return log[offset:], is_certain


NOTE = b"[makerflow: the end may be missing here]\n"
TICKS = b"tick\n" * 4
DROPPED = b"tick\n%b\n%b" % (b"-" * 44, TICKS)
CUT_ONE: Parts = [(b"a\nb\n", 1, 4), (NOTE, 2, 0)]


@pytest.mark.parametrize(
    ("log", "parts", "expected"),
    [
        pytest.param(b"a\nb\n", [], b"a\nb\n", id="nothing was read"),
        pytest.param(b"a\nb\n", [(b"a\n", 1, 2)], b"b\n", id="one attempt"),
        pytest.param(TICKS, [(TICKS[:10], 1, 10)], TICKS[10:], id="lines that are all the same"),
        pytest.param(TICKS * 2, [(TICKS, 1, 20), (TICKS[:10], 2, 10)], TICKS[10:], id="and in two attempts"),
        pytest.param(TICKS * 2 + b"b\n", [(TICKS, 1, 20), (b"", 2, 0), (TICKS, 2, 20)], b"b\n", id="none printed yet"),
        pytest.param(b"a\nbc\nd\n", [(b"a\nb\n", 1, 3), (b"c\n", 2, 2)], b"d\n", id="a last line without an end"),
        pytest.param(b"a\nc\nd\n", [(b"a\n", 1, 2), (b"c\n", 3, 2)], b"d\n", id="an attempt that printed nothing"),
        pytest.param(b"a\nb\nd\n", [(b"a\n", 1, 2), (NOTE, 1, 2)], b"b\nd\n", id="the rest is not on the cluster"),
        pytest.param(b"a\nb\n", [(NOTE, 1, 0)], b"a\nb\n", id="nothing is on the cluster"),
        pytest.param(b"a\nc\nd\n", [*CUT_ONE, (b"c\n", 2, 2)], b"d\n", id="the log lacks an earlier attempt's end"),
        pytest.param(b"a\nb\nc\nc\nd\n", [*CUT_ONE, (b"c\nc\n", 2, 4)], b"d\n", id="or has more of it"),
        pytest.param(b"a\nb\nc\n", [*CUT_ONE, (b"c\nd\ne\n", 2, 6)], b"", id="it was uploaded before that"),
        pytest.param(b"a\n[dropped]\ny\nz\n", [(b"a\n", 1, 2), (NOTE, 1, 900), (b"y\n", 1, 902)], b"z\n", id="dropped"),
        pytest.param(b"\xff\xff\xff\nb\n", [("\ufffd\ufffd\ufffd\n".encode(), 1, 4)], b"b\n", id="not UTF-8"),
        pytest.param(b"\xe2\x82x\nb\n", [("\ufffdx\n".encode(), 1, 4)], b"b\n", id="nor this, which is as long"),
    ],
)  # fmt: skip
def test_nothing_is_left_out_and_nothing_comes_twice(log: bytes, parts: Parts, expected: bytes, tmp_path: Path) -> None:
    assert rest(log, parts, tmp_path) == (expected, True)


@pytest.mark.parametrize(
    ("log", "parts", "expected"),
    [
        pytest.param(TICKS, [*CUT_ONE, (b"tick\n", 2, 5)], TICKS[5:], id="what was read is there more than once"),
        pytest.param(b"a\nb\na\n", [*CUT_ONE, (b"a\nb\n", 2, 4)], b"a\n", id="the end may be what was read"),
        pytest.param(TICKS, [(TICKS[:15], 1, 15), (NOTE, 2, 0)], TICKS[15:], id="its attempt lacks its end"),
        pytest.param(DROPPED, [(b"tick\n", 1, 5), (NOTE, 1, 55), (b"tick\n", 1, 60)], DROPPED[5:], id="dropped"),
        pytest.param(b"x\ny\n", [*CUT_ONE, (b"c\n", 2, 2)], b"x\ny\n", id="what was read is not there"),
        pytest.param(b"\xe2\x82x\nb\n", [*CUT_ONE, ("\ufffdx\n".encode(), 2, 4)], b"\xe2\x82x\nb\n", id="not UTF-8"),
    ],
)  # fmt: skip
def test_where_it_is_not_known_nothing_is_left_out(log: bytes, parts: Parts, expected: bytes, tmp_path: Path) -> None:
    assert rest(log, parts, tmp_path) == (expected, False)


def test_of_what_the_cluster_told_to_its_end_there_is_no_more(tmp_path: Path) -> None:
    assert rest(TICKS, [*CUT_ONE, (b"tick\n", 2, 5)], tmp_path, is_all=True) == (b"", True)
    lacking: Parts = [*CUT_ONE, (b"tick\n", 2, 5), (NOTE, 2, 5)]
    assert rest(TICKS, lacking, tmp_path, is_all=True) == (TICKS[5:], False)


def test_reading_that_began_in_a_later_attempt_goes_on_behind_what_was_read(tmp_path: Path) -> None:
    assert rest(b"a\nb\nc\nd\n", [(b"c\n", 2, 4)], tmp_path, LogTrail(2, 2)) == (b"d\n", True)
    assert rest(b"a\nb\n", [], tmp_path, LogTrail(2, 2)) == (b"a\nb\n", False)


def test_what_was_read_long_ago_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_trail, "KEPT_BYTES", 10)
    lines = [b"%d\n" % number for number in range(100, 200)]
    parts: Parts = [(line, 2, 4 * number) for number, line in enumerate(lines, start=1)]
    trail = LogTrail(2, 0)
    assert rest(b"".join([*lines, b"end\n"]), parts, tmp_path, trail) == (b"end\n", True)
    assert len(trail._last) <= 20
