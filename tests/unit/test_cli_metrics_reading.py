import io
import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.metrics import MetricReader
from deployments.cli.metrics_reading import Reading
from deployments.cli.training_logs import CHUNK_BYTES, LINE_BYTES, pieces

OUTPUT = b"hello\nstep=5 loss=0.5 acc=1\r\n\nloss=0.4\rloss=0.3\nloss=nan\nepoch 2 acc=0.9"


def read(*cut: bytes, at_most: int | None = None, sought: str = "") -> tuple[list[tuple[int, str, str, int]], Reading]:
    reading = Reading((), sought)
    return [(r.line, r.name, r.text, r.step) for r in reading.reports(cut, at_most)], reading


def test_each_report_comes_with_its_line() -> None:
    reports, reading = read(OUTPUT)

    assert reports == [
        (2, "loss", "0.5", 5),
        (2, "acc", "1", 5),
        (4, "loss", "0.4", 2),
        (4, "loss", "0.3", 3),
        (5, "loss", "nan", 4),
        (6, "acc", "0.9", 2),
    ]
    loss = reading.tallies["loss"]
    assert (loss.count, loss.not_finite, loss.last, loss.last_text, loss.min, loss.max) == (4, 1, None, "nan", 0.3, 0.5)


def test_what_is_not_given_is_read_all_the_same() -> None:
    reports, reading = read(b"loss=3\n" * 10, b"loss=2\n" * 10, at_most=12)
    assert (len(reports), reports[-1], reading.not_shown) == (12, (12, "loss", "2", 12), 8)
    assert reading.tallies["loss"].count == 20


@given(st.lists(st.sampled_from([b"loss=0.3", b"step=7", b" ", b"\n", b"\r", b"acc: 1", b"\xff", b"x"]), max_size=60))
def test_reading_by_line_gives_what_reading_at_once_gives(parts: list[bytes]) -> None:
    output = b"".join(parts)
    whole, rest = output.split(b"\n")[:-1], output.split(b"\n")[-1]
    reports, _ = read(*(line + b"\n" for line in whole), rest)
    assert [report[1:] for report in reports] == list(MetricReader().reports(output))
    assert all(name.encode() in output.split(b"\n")[line - 1] for line, name, _, _ in reports)


@given(st.binary(max_size=2000), st.integers(min_value=1, max_value=50))
def test_pieces_are_all_of_a_stream_in_whole_lines(data: bytes, size: int) -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = data

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            given, self.rest = self.rest[:size], self.rest[size:]
            buffer[: len(given)] = given
            return len(given)

    found = list(pieces(io.BufferedReader(Slow())))
    assert b"".join(found) == data
    assert all(piece.endswith(b"\n") for piece in found[:-1])


def test_a_line_without_end_and_endless_output_take_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        def __init__(self, line: bytes) -> None:
            self.line, self.left = line, 40_000_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            given = (self.line * (len(buffer) // len(self.line)))[: self.left]
            self.left -= len(given)
            buffer[: len(given)] = given
            return len(given)

    def endless(line: bytes) -> Iterator[bytes]:
        return pieces(io.BufferedReader(Endless(line), LINE_BYTES))

    for line in (b"x", b"nothing to see here but 3 words\n"):
        tracemalloc.start()
        assert list(Reading((), "loss").reports(endless(line), 20)) == []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * CHUNK_BYTES
