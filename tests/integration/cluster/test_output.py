import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.cluster.output import LINE_BYTES, Output, lines_of
from blocks.launcher.supervisor import Output as Writer

MIB = 1 << 20


def reader(directory: Path, over: bool = False) -> Output:
    return Output(directory, 1, lambda: over)


def read_all(output: Output, at_most: int = 1 << 16, since: int = 0) -> tuple[bytes, int]:
    pieces = []
    while (piece := output.read(since, at_most)).data:
        pieces.append(piece.data)
        since = piece.cursor
    return b"".join(pieces), since


def texts(output: Output, since: int = 0, at_most: int = 1 << 20) -> list[str]:
    found = []
    while (piece := output.read(since, at_most)).data:
        found += [line.text for line in lines_of(piece, since, 0)]
        since = piece.cursor
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.binary(max_size=3000), max_size=30), st.integers(64, 20_000))
def test_what_the_supervisor_writes_is_what_is_read_whatever_the_pieces(tmp_path_factory, chunks, at_most):
    directory = tmp_path_factory.mktemp("output")
    writer = Writer(str(directory), MIB)
    for chunk in chunks:
        writer.write(chunk)
    writer.end()
    stored = b"".join(file.read_bytes() for file in sorted(directory.iterdir()))
    data, cursor = read_all(reader(directory), MIB)
    assert (data, cursor) == (stored, len(stored))
    assert read_all(reader(directory), at_most)[1] == len(stored)
    assert len(texts(reader(directory))) == stored.count(b"\n")


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_stream_goes_on_over_segments_and_attempts(tmp_path, attempts):
    lines = [f"line {n} ".encode() * 100 + b"\n" for n in range(900)]
    for attempt in range(attempts):
        writer = Writer(str(tmp_path), 4 * MIB)
        writer.write(b"".join(lines[attempt::attempts]))
        writer.end()
    data, _ = read_all(reader(tmp_path))
    assert sorted(data.splitlines(keepends=True)) == sorted(lines)
    assert len(list(tmp_path.iterdir())) > 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["train.log", "5.log", "99.log", "\u0665" * 20 + ".log"])
def test_a_file_of_the_entry_point_beside_the_segments_is_not_read(tmp_path, name):
    (tmp_path / name).write_text("mine\n")
    writer = Writer(str(tmp_path), MIB)
    writer.write(b"first\nsecond\n")
    writer.end()
    assert texts(reader(tmp_path)) == ["first", "second"]


def test_past_the_limit_the_beginning_and_the_end_are_kept_and_a_line_says_what_is_missing(tmp_path):
    writer = Writer(str(tmp_path), MIB)
    total = 0
    for number in range(100_000):
        line = b"line %06d, with some more text\n" % number
        total += len(line)
        writer.write(line)
    writer.end()
    found = texts(reader(tmp_path))
    (mark,) = [number for number, text in enumerate(found) if text.startswith("[makerflow: ")]
    kept = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert found[mark] == (
        f"[makerflow: {total - kept} bytes of output were dropped here; the limit is 1 MiB per worker]"
    )
    assert found[0].startswith("line 000000")
    assert found[-1].startswith("line 099999")
    assert 0.8 * MIB < kept <= MIB


def test_a_reader_can_go_on_after_the_mark_and_from_within_what_was_dropped(tmp_path):
    (tmp_path / f"{0:020d}.log").write_bytes(b"one\ntw")
    (tmp_path / f"{100:020d}.log").write_bytes(b"rest\nlast\n")
    output = reader(tmp_path)
    mark = "[makerflow: {} bytes of output were dropped here; the limit is 1 MiB per worker]"
    assert texts(output) == ["one", "tw", mark.format(94), "rest", "last"]
    assert texts(output, since=50) == [mark.format(50), "rest", "last"]
    cursors = [line.cursor for line in lines_of(output.read(6, MIB), 6, 0)]
    assert cursors == [100]


def test_a_line_is_given_once_it_is_whole_and_the_rest_when_the_run_is_over(tmp_path):
    (tmp_path / f"{0:020d}.log").write_bytes(b"whole\nhalf")
    assert read_all(reader(tmp_path)) == (b"whole\n", 6)
    assert read_all(reader(tmp_path, over=True)) == (b"whole\nhalf\n", 10)


def test_long_lines_are_cut_between_characters_and_no_cursor_is_lost(tmp_path):
    text = "\N{EURO SIGN}" * 100_000
    (tmp_path / f"{0:020d}.log").write_bytes(text.encode() + b"\nnext\n")
    lines = list(lines_of(reader(tmp_path).read(0, MIB), 0, 0))
    assert "".join(line.text for line in lines[:-1]) == text
    assert max(len(line.text.encode()) for line in lines) <= LINE_BYTES
    assert texts(reader(tmp_path), since=lines[0].cursor)[0] == lines[1].text
    assert texts(reader(tmp_path), at_most=1000)[-1] == "next"


def test_broken_characters_are_replaced_and_the_cursor_counts_bytes(tmp_path):
    (tmp_path / f"{0:020d}.log").write_bytes(b"a\xff\xfeb\nnext\n")
    lines = list(lines_of(reader(tmp_path).read(0, 100), 0, 0))
    assert [(line.text, line.cursor) for line in lines] == [
        ("a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b", 5),
        ("next", 10),
    ]


def test_a_worker_that_has_not_printed_has_no_lines(tmp_path):
    assert read_all(reader(tmp_path / "absent")) == (b"", 0)


def test_reading_while_it_is_written_and_dropped_never_repeats_and_never_skips_without_a_mark(tmp_path):
    writer = Writer(str(tmp_path), MIB)
    done = threading.Event()

    def write() -> None:
        chance = random.Random(7)
        number = 0
        while number < 200_000:
            count = chance.randrange(1, 2000)
            writer.write(b"".join(b"%07d\n" % n for n in range(number, number + count)))
            number += count
        writer.end()
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    expected = since = 0
    while True:
        last_look = done.is_set()
        piece = reader(tmp_path).read(since, 1 << 16)
        assert len(piece.data) == piece.cursor - since or piece.mark
        if not piece.mark:
            for line in piece.data.split():
                assert int(line) == expected
                expected += 1
        elif piece.mark:
            expected += (piece.cursor - since) // 8
        since = piece.cursor
        if last_look and not piece.data:
            break
    thread.join()
    assert expected >= 200_000
