import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.launcher import supervisor
from blocks.launcher.supervisor import Output

SEGMENT = 4096
LIMIT = SEGMENT * supervisor.SEGMENTS


def segments(directory: Path) -> dict[int, bytes]:
    return {int(file.stem): file.read_bytes() for file in sorted(directory.glob("*.log"))}


def kept(directory: Path) -> bytes:
    return b"".join(segments(directory).values())


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\r\n"])))
def test_however_the_reads_fall_every_kind_of_line_end_becomes_one(tmp_path_factory, reads):
    directory = tmp_path_factory.mktemp("output")
    output = Output(str(directory), LIMIT)
    for read in reads:
        output.write(read)
    whole = b"".join(reads).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert kept(directory) == whole
    output.end()
    assert kept(directory) == whole + b"\n" * (whole != b"" and not whole.endswith(b"\n"))


def test_a_later_attempt_goes_on_where_the_last_one_ended(tmp_path):
    for text in (b"first", b"second\n"):
        output = Output(str(tmp_path), LIMIT)
        output.write(text)
        output.end()
    assert segments(tmp_path) == {0: b"first\nsecond\n"}


@pytest.mark.parametrize("name", ["train.log", "5.log", "0000000000000000005.log", "\u0665" * 20 + ".log"])
def test_a_file_of_the_entry_point_beside_the_segments_is_none_of_them(tmp_path, name):
    (tmp_path / name).write_text("mine\n")
    output = Output(str(tmp_path), LIMIT)
    output.write(b"line\n")
    output.end()
    (tmp_path / name).unlink()
    assert segments(tmp_path) == {0: b"line\n"}


def test_segments_are_named_by_their_offset_and_end_with_a_line(tmp_path):
    output = Output(str(tmp_path), LIMIT)
    lines = b"".join(b"%05d\n" % number for number in range(3000))
    output.write(lines)
    output.end()
    offset = 0
    for start, content in segments(tmp_path).items():
        assert start == offset
        assert content.endswith(b"\n")
        assert len(content) <= SEGMENT
        offset += len(content)
    assert kept(tmp_path) == lines


def test_past_the_limit_the_middle_goes_and_the_beginning_and_the_end_stay(tmp_path):
    output = Output(str(tmp_path), LIMIT)
    lines = b"".join(b"%07d\n" % number for number in range(20_000))
    for start in range(0, len(lines), 1000):
        output.write(lines[start : start + 1000])
    output.end()
    found = segments(tmp_path)
    assert len(found) == supervisor.SEGMENTS
    assert sum(map(len, found.values())) <= LIMIT
    for start, content in found.items():
        assert content == lines[start : start + len(content)]
    assert min(found) == 0
    assert kept(tmp_path).endswith(b"0019999\n")


def test_a_line_longer_than_a_segment_is_kept_whole(tmp_path):
    output = Output(str(tmp_path), LIMIT)
    line = os.urandom(2 * SEGMENT).replace(b"\n", b"x").replace(b"\r", b"x") + b"\n"
    output.write(line)
    output.end()
    assert kept(tmp_path) == line


def test_what_a_full_disk_refuses_is_counted_and_does_not_stop_the_stream(tmp_path, monkeypatch):
    output = Output(str(tmp_path), LIMIT)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervisor.os, "write", full)
    output.write(b"lost\n")
    monkeypatch.setattr(supervisor.os, "write", real)
    output.write(b"kept\n")
    assert output.refused == 5
    assert kept(tmp_path) == b"kept\n"
    assert output.recent() == "lost\nkept\n"


def test_memory_stays_bounded_whatever_is_written(tmp_path):
    output = Output(str(tmp_path), LIMIT)
    for _ in range(100):
        output.write(b"x" * supervisor.READ_BYTES)
    assert len(output.recent()) <= supervisor.RECENT_BYTES


TRACEBACK = """loading
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise ValueError("no such column")
ValueError: no such column
exit handlers ran
"""


@pytest.mark.parametrize(
    ("recent", "words"),
    [
        (TRACEBACK, "ValueError: no such column"),
        ("Traceback (most recent call last):\n  File\n    x\n    ^\nmy.Error\n", "my.Error"),
        ("epoch 1\nno data, giving up\n\n", "no data, giving up"),
        ("", ""),
    ],
)
def test_the_message_of_a_failure_is_the_line_that_says_what_went_wrong(recent, words):
    assert supervisor.last_error(recent)[0] == words


@pytest.mark.parametrize(
    ("recent", "cause"),
    [
        ("Traceback (most recent call last):\nOSError: [Errno 28] No space left on device: 'x'\n", "disk_full"),
        ("Traceback (most recent call last):\nOSError: [Errno 122] Disk quota exceeded\n", "disk_full"),
        ("No space left on device\nTraceback (most recent call last):\nValueError: x\n", "user_error"),
        ("MemoryError\n", "user_error"),
    ],
)
def test_a_full_disk_is_told_from_a_fault_of_the_program(recent, cause):
    assert supervisor.judge_code(1, recent)[0] == cause


@pytest.mark.parametrize(("number", "cause"), [(9, "lost"), (15, "lost"), (11, "user_error"), (6, "user_error")])
def test_a_crash_is_told_from_a_kill(number, cause):
    assert supervisor.judge_signal(number)[0] == cause
