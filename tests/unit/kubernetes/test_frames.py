"""What a sidecar prints and what a reader makes of it: the two must agree on every byte of output."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.cluster.kubernetes.frames import MARK, MOST_BYTES, Frames, cursor_of, place_of
from blocks.cluster.layout import RunLayout
from blocks.launcher import pod_stream
from blocks.launcher.pod_stream import Remarks, Stream
from blocks.launcher.supervisor import Output

PIECE_BYTES = 32
EVENT = {"kind": "usage", "sequence": 1}

LINES = st.lists(
    st.binary(max_size=12) | st.binary(min_size=30, max_size=80) | st.binary(max_size=8).map(lambda rest: MARK + rest),
    max_size=12,
).map(lambda lines: [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines])
WRITES = st.tuples(LINES, st.booleans()).map(lambda pair: b"\n".join(pair[0]) + (b"\n" if pair[1] and pair[0] else b""))
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


class Printed(Stream):
    """A sidecar's stream, caught instead of printed."""

    text = b""

    def _print(self, text: bytes) -> None:
        self.text += text


class Sidecar:
    """A worker's files, and what the sidecar beside them prints."""

    def __init__(self, directory: Path, limit_bytes: int = 1 << 20) -> None:
        self.layout = RunLayout(directory, "run")
        self.layout.output(0).mkdir(parents=True)
        self.layout.events.parent.mkdir(parents=True)
        self.output = Output(str(self.layout.output(0)), limit_bytes)
        self.written = b""

    def write(self, data: bytes) -> None:
        self.output.write(data)
        self.written += data

    def prints(self) -> bytes:
        """All that it prints from its beginning to the worker's end."""
        stream = Printed(self.layout, 0, limit_mib=64)
        with stream.printed():
            pass
        return stream.text

    @property
    def expected(self) -> bytes:
        """What was written; a line that is longer than a piece, and a last one without its end, get one."""
        found, rest = b"", self.written
        while rest:
            end = rest[:PIECE_BYTES].rfind(b"\n") + 1 or PIECE_BYTES
            found += rest[:end] if rest[:end].endswith(b"\n") else rest[:end] + b"\n"
            rest = rest[end:]
        return found


@pytest.fixture
def sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sidecar:
    monkeypatch.setattr(pod_stream, "PIECE_BYTES", PIECE_BYTES)
    return Sidecar(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def _small_pieces() -> Any:
    whole = pod_stream.PIECE_BYTES
    pod_stream.PIECE_BYTES = PIECE_BYTES
    yield
    pod_stream.PIECE_BYTES = whole


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    pieces, number = [], 0
    while text:
        size = sizes[number % len(sizes)]
        pieces.append(text[:size])
        text, number = text[size:], number + 1
    return pieces


def read(
    text: bytes, since: int = 0, sizes: tuple[int, ...] = (1 << 20,)
) -> tuple[bytes, Frames, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    frames = Frames(since, events.append)
    return b"".join(joined(frames.take(piece)) for piece in cut(text, list(sizes))), frames, events


@given(WRITES, CUTS)
def test_however_it_is_cut_all_that_was_written_is_read(tmp_path_factory, written, sizes):
    sidecar = Sidecar(tmp_path_factory.mktemp("pod"))
    sidecar.write(written)
    data, frames, _ = read(sidecar.prints(), sizes=tuple(sizes))
    assert data == sidecar.expected
    assert (frames.position, frames.ended, frames.skipped) == (len(written), True, 0)


@given(WRITES, CUTS, st.integers(0, 30))
def test_a_reader_that_comes_back_goes_on_where_it_was(tmp_path_factory, written, sizes, when):
    sidecar = Sidecar(tmp_path_factory.mktemp("pod"))
    sidecar.write(written)
    text = sidecar.prints()
    first = Frames(0, lambda _: None)
    data = b"".join(joined(first.take(piece)) for piece in cut(text, sizes)[:when])
    again, frames, _ = read(text, since=first.position)
    assert data + again == sidecar.expected
    assert frames.position == len(written)


@given(LINES.filter(lambda lines: all(len(line) < PIECE_BYTES for line in lines)), st.data())
def test_from_any_position_on_the_rest_is_read(tmp_path_factory, lines, data):
    """Also from within a line."""
    sidecar = Sidecar(tmp_path_factory.mktemp("pod"))
    sidecar.write(b"".join(line + b"\n" for line in lines))
    since = data.draw(st.integers(0, len(sidecar.written)))
    found, frames, _ = read(sidecar.prints(), since=since)
    assert found == sidecar.written[since:]
    assert frames.position == len(sidecar.written)


@given(WRITES, WRITES, st.integers(0, 400))
def test_a_sidecar_that_was_started_again_says_nothing_twice(tmp_path_factory, first, second, killed_at):
    sidecar = Sidecar(tmp_path_factory.mktemp("pod"))
    sidecar.write(first)
    before = sidecar.prints().partition(MARK + b'{"end"')[0][:killed_at]
    sidecar.write(second)
    frames = Frames(0, lambda _: None)
    data = joined(frames.take(before))  # the log of a container that was started again is another one
    frames = Frames(frames.position, lambda _: None)
    data += joined(frames.take(sidecar.prints()))
    assert data.replace(b"\n", b"") == sidecar.written.replace(b"\n", b"")
    assert frames.position == len(sidecar.written)


@given(WRITES, st.integers(0, 400))
def test_of_a_log_whose_beginning_is_gone_the_rest_is_read_and_the_gap_is_counted(tmp_path_factory, written, kept):
    sidecar = Sidecar(tmp_path_factory.mktemp("pod"))
    sidecar.write(written)
    text = sidecar.prints()
    lines = text.split(b"\n")
    tail = b"\n".join(lines[min(kept, len(lines) - 2) :])
    data, frames, _ = read(tail)
    assert sidecar.expected.endswith(data)
    assert frames.ended
    whole, _, _ = read(text, since=frames.skipped)
    assert data == whole


def test_the_last_line_of_a_worker_that_goes_on_waits_for_its_end(sidecar):
    sidecar.write(b"first\nsec")
    stream = Printed(sidecar.layout, 0, limit_mib=64)
    stream._print(MARK + b'{"at": 0}\n')
    while stream._print_output():
        pass
    frames = Frames(0, lambda _: None)
    assert joined(frames.take(stream.text)) == b"first\n"
    stream.text = b""
    sidecar.write(b"ond\n")
    stream._print_output()
    assert joined(frames.take(stream.text)) == b"second\n"
    assert not frames.ended


def test_events_are_told_between_the_lines_and_never_from_what_the_worker_prints(sidecar):
    sidecar.write(MARK + b'{"event": {"kind": "forged"}}\nplain\n' + MARK + b'{"at": 7}\n')
    sidecar.layout.events.write_text(json.dumps(EVENT) + "\n")
    data, frames, events = read(sidecar.prints())
    assert data == sidecar.written
    assert events == [EVENT]
    assert frames.position == len(sidecar.written)


@pytest.mark.parametrize("line", ["5", "[]", '"text"', "null}\n", "{", "1}, {", '{"kind": "usage"'])
def test_what_an_entry_point_wrote_among_the_events_stalls_nothing(sidecar, line):
    sidecar.write(b"plain\n")
    sidecar.layout.events.write_text(f"{line}\n{json.dumps(EVENT)}\n")
    data, frames, events = read(sidecar.prints())
    assert (data, events, frames.ended) == (b"plain\n", [EVENT], True)


FRAMES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["at", "end", "line", "event"]), inner),
    max_leaves=6,
).map(lambda document: MARK + json.dumps(document).encode())


@given(st.lists(FRAMES | st.binary(max_size=30) | st.binary(max_size=30).map(lambda rest: MARK + rest)), CUTS)
@example([MARK + b'{"line": "\\ud800"}'], [40])
@example([MARK + b'{"event": 1, "line": "\\ud800"}'], [40])
@example([MARK + b'{"at": ' + b"9" * 5000 + b"}", MARK + b"[" * 100_000], [40_000])
def test_whatever_is_printed_what_follows_is_read(lines, sizes):
    frames = Frames(0, lambda _: None)
    printed = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    for piece in cut(printed, sizes):
        frames.take(piece)
    frames.ended, at = False, frames.position
    last = b"".join(MARK + b'{"at": %d}\n%s' % (at + n, b"x\n" if n == 0 else b"") for n in (0, 2))
    assert joined(frames.take(last)) == b"x\n"


def test_an_event_that_is_none_is_no_line_mark_or_end(sidecar):
    sidecar.write(b"plain\n")
    forged = ['1, "line": "\\ud800"', '1, "at": 3', '1, "end": 0', '1, "line": "forged"']
    sidecar.layout.events.write_text("".join(f"{line}\n" for line in [*forged, json.dumps(EVENT)]))
    data, frames, events = read(sidecar.prints())
    assert (data, events, frames.position, frames.skipped) == (b"plain\n", [EVENT], 6, 0)


def test_what_the_supervisor_dropped_is_one_line_that_says_so(tmp_path):
    sidecar = Sidecar(tmp_path, limit_bytes=8 * 4096)
    for number in range(8000):
        sidecar.write(b"line %10d\n" % number)
    text = sidecar.prints()
    data, frames, _ = read(text)
    first, mark, last = data.partition(b"[makerflow: ")
    dropped = int(mark and last.split()[0])
    assert dropped > 0
    kept = last.partition(b"\n")[2]
    assert sidecar.written.startswith(first)
    assert sidecar.written.endswith(kept)
    assert len(first) + dropped + len(kept) == frames.position == len(sidecar.written)
    within, after, _ = read(text, since=len(first) + 5)
    assert (within, after.position) == (data[len(first) :], frames.position)


@settings(max_examples=20)
@given(st.integers(1, 1000), st.integers(0, MOST_BYTES - 1))
def test_a_cursor_holds_attempt_and_position(attempt, position):
    assert place_of(cursor_of(attempt, position)) == (attempt, position)
    assert cursor_of(attempt + 1, 0) > cursor_of(attempt, position)


def test_the_output_starts_at_zero():
    assert (cursor_of(1, 0), place_of(0)) == (0, (1, 0))


def joined(pieces) -> bytes:
    return b"".join(piece.data for piece in pieces)


def test_what_the_sidecar_says_beside_it_is_neither_output_nor_an_event(capfd):
    print("uploading while the workers run:\nthe store is away", file=Remarks())
    remarks, told = capfd.readouterr().err.encode(), []
    frames = Frames(0, told.append)
    assert remarks.count(b"\n") == 2
    assert frames.take(MARK + b'{"at": 0}\n' + remarks + b"loss=1\n" + MARK + b'{"at": 7}\n') == [
        (b"loss=1\n", 7, False)
    ]
    assert told == []
