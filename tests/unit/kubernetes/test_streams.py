"""Reading what sidecars print: several threads at once, while the API server refuses, breaks and is late."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count, pairwise
from typing import TypeVar

import pytest

from blocks.cluster.kubernetes import streams as module
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.streams import Read, Stream, Streams
from blocks.cluster.output import Piece, lines_of
from blocks.domain.errors import ClusterUnavailableError
from tests.unit.kubernetes.sidecar_log import LINE, SidecarLog
from tests.waiting import wait_until

RESTARTING = ClusterUnavailableError('pods "pod" is forbidden: RBAC: role not found')
NOT_FOUND = ApiError(404, "NotFound", 'pods "pod" not found')
FORGOTTEN = ApiError(400, "BadRequest", 'container "sync" in pod "pod" is terminated')
MUCH = 100
T = TypeVar("T")


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_BYTES", 80 * len(LINE))
    monkeypatch.setattr(module, "KEPT_BYTES", 10 * len(LINE))
    monkeypatch.setattr(module, "CHUNK_BYTES", 10 * len(LINE))
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "MOST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def worker() -> Iterator["Worker"]:
    made = Worker()
    yield made
    made.log.end()
    made.streams.close("run")


class Worker:
    """One worker's log, and this process' streams."""

    def __init__(self) -> None:
        self.log, self.streams = SidecarLog(), Streams()
        self.told: list[object] = []
        self.positions: dict[int, int] = {}

    def print(self, lines: int) -> None:
        for _ in range(lines):
            self.log.write(LINE)

    def read(self, position: int, at_most: int = 1 << 20, pod: str = "pod") -> Read:
        return self.streams.read("run", 0, pod, position, at_most, lambda at: self.opened(at, pod=pod))

    def opened(self, at: int = 0, *, pod: str = "pod", silent: bool = False) -> Stream:
        return Stream(self.log, pod, at, self.told.append, lambda: self.log.over, silent=silent)  # type: ignore[arg-type]

    def read_all(self, position: int = 0, at_most: int = 1 << 20, pause: Callable[[], object] = lambda: None) -> bytes:
        """As who finishes does: until there is nothing more."""
        found = b""
        while (read := self.read(position, at_most)).data:
            found, position = found + read.data, read.position
            pause()
        return found


def in_thread(pool: ThreadPoolExecutor, call: Callable[[], T]) -> Callable[[], T]:
    future = pool.submit(call)
    return lambda: future.result(timeout=20)


def test_two_readers_of_which_one_is_far_ahead_both_read_all_and_each_opens_the_log_once(worker):
    worker.print(10 * MUCH)
    worker.log.end()
    slowly = lambda: time.sleep(0.002)  # noqa: E731
    with ThreadPoolExecutor(2) as pool:
        fast = in_thread(pool, lambda: worker.read_all(at_most=40 * len(LINE)))
        slow = in_thread(pool, lambda: worker.read_all(at_most=5 * len(LINE), pause=slowly))
        assert fast() == slow() == LINE * 10 * MUCH
    assert len(worker.log.follows) <= 2


def test_readers_that_go_on_far_apart_do_not_take_the_log_from_each_other(worker):
    worker.print(5 * MUCH)
    worker.log.end()
    ahead, behind = Read(b"", 4 * MUCH * len(LINE)), Read(b"", 0)
    with ThreadPoolExecutor(1) as pool:
        while not (ahead.ended and behind.ended):
            ahead = in_thread(pool, lambda at=ahead.position: worker.read(at, 5 * len(LINE)))()
            behind = worker.read(behind.position, 25 * len(LINE))
    assert ahead.position == behind.position == 5 * MUCH * len(LINE)
    assert len(worker.log.follows) == 2


def test_one_that_reads_no_more_keeps_nobody_from_reading_to_the_end(worker):
    """As a collector whose store is full."""
    worker.print(3 * MUCH)
    worker.log.end()
    with ThreadPoolExecutor(1) as pool:
        in_thread(pool, lambda: worker.read(0, len(LINE)).data)()
        assert worker.read_all() == LINE * 3 * MUCH


def test_readers_that_are_near_each_other_share_a_connection(worker):
    worker.print(5)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            assert in_thread(pool, worker.read_all)() == worker.read_all() == LINE * 5
        assert in_thread(pool, lambda: worker.read_all(3 * len(LINE)))() == LINE * 2
    wait_until(lambda: (worker.log.open, worker.log.follows) == (1, [False, True]), "one to be open", 5)


def test_a_reader_goes_on_when_somebody_closes_what_it_reads(worker):
    worker.print(MUCH)
    closed = count()

    def close() -> None:
        if next(closed) < 3:
            worker.streams.close("run")

    worker.log.end()
    assert worker.read_all(at_most=10 * len(LINE), pause=close) == LINE * MUCH


def test_a_reader_that_waits_goes_on_when_somebody_closes_what_it_waits_for(worker):
    worker.log.seconds_between_pieces = 0.1
    worker.print(MUCH)
    worker.log.end()
    with ThreadPoolExecutor(1) as pool:
        found = in_thread(pool, worker.read_all)
        wait_until(lambda: worker.log.open == 1, "the log to be read", 5)
        worker.streams.close("run")
        assert found() == LINE * MUCH


def test_each_line_has_a_cursor_of_its_own_also_behind_lines_that_are_cut(worker, monkeypatch):
    monkeypatch.setattr(module, "BUFFER_BYTES", 1 << 24)
    text = (b"x" * 600_000 + b"\nshort\na\nb\n") * 6
    for at in range(0, len(text), 250_000):
        worker.log.write(text[at : at + 250_000])
    worker.log.end()
    lines, position = [], 0
    while (read := worker.read(position)).data:
        lines += lines_of(Piece(read.data, read.position), position, 0)
        position = read.position
    assert [line.text for line in lines].count("b") == 6
    assert all(sooner.cursor < later.cursor for sooner, later in pairwise(lines))
    assert all(text[: line.cursor].endswith(line.text.encode() + b"\n") for line in lines if len(line.text) < 9)


def test_refusals_at_the_end_lose_nothing(worker):
    worker.log.answers.extend([RESTARTING] * 4 * module.LAST_LOOKS)
    worker.print(3)
    worker.log.end()
    assert worker.read_all() == LINE * 3


def test_a_log_that_is_refused_for_long_is_not_at_its_end(worker, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.2)
    worker.print(3)
    worker.log.end()
    worker.log.answers.extend([RESTARTING] * 1000)
    for _ in range(2):
        with pytest.raises(ClusterUnavailableError, match=r"log of pod .* RBAC: role not found"):
            worker.read_all()
    worker.log.answers.clear()
    assert wait_for_lines(worker) == LINE * 3


def wait_for_lines(worker: Worker) -> bytes:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            return worker.read_all()
        except ClusterUnavailableError:
            time.sleep(0.01)
    return b""


def test_a_log_that_tells_nothing_more_before_its_end_is_asked_for_again(worker, monkeypatch):
    """Its connection is half dead."""
    monkeypatch.setattr(module, "LAST_SECONDS", 0.2)
    worker.print(3)
    assert worker.read_all() == LINE * 3
    wait_until(lambda: worker.log.follows[-1], "it to be followed", 5)
    stuck = worker.log
    stuck.is_stuck = True
    stuck.write(LINE)
    stuck.end()
    with pytest.raises(ClusterUnavailableError):
        worker.read(3 * len(LINE))
    stuck.is_stuck = False
    wait_until(lambda: len(stuck.follows) == 3, "it to be opened again", 5)
    assert worker.read_all(3 * len(LINE)) == LINE


def test_a_log_that_is_gone_is_at_its_end_at_once(worker):
    worker.print(3)
    worker.log.end()
    worker.log.answers.extend([NOT_FOUND] * 2)
    assert worker.read(0) == Read(b"", 0, ended=True, cut=True)
    assert len(worker.log.follows) == 1


@pytest.mark.parametrize("answers", [[], [FORGOTTEN] * 100], ids=["opened", "forgotten"])
def test_a_log_without_an_end_is_at_its_end_after_some_looks(worker, answers):
    """Of a sidecar that was killed, or of which its node knows nothing any more."""
    worker.print(3)
    worker.log.end(killed=True)
    worker.log.answers.extend(answers)
    printed = 0 if answers else 3 * len(LINE)
    assert len(worker.read_all()) == printed
    assert worker.read(printed) == Read(b"", printed, ended=True, cut=True)
    assert len(worker.log.follows) == module.LAST_LOOKS


def test_a_log_that_breaks_is_read_to_its_end(worker):
    worker.log.answers.extend([150, 350, RuntimeError("of the client"), 1, 20])
    worker.print(5)
    worker.log.end()
    assert worker.read_all() == LINE * 5
    assert worker.read(5 * len(LINE)) == Read(b"", 5 * len(LINE), ended=True)


def test_one_look_at_a_log_that_is_late_finds_all_that_is_there(worker):
    worker.log.seconds_until_opened, worker.log.seconds_between_pieces = 1.2, 0.05
    worker.print(30)
    assert worker.read_all() == LINE * 30
    began = time.monotonic()
    assert worker.read(30 * len(LINE)).data == b""
    assert time.monotonic() - began < 0.5, "nobody waits for what is not printed yet"


def test_nobody_waits_long_for_a_log_that_is_refused_while_its_worker_goes_on(worker, monkeypatch):
    monkeypatch.setattr(module, "FIRST_REFUSED_SECONDS", 0.1)
    worker.print(3)
    worker.log.answers.extend([RESTARTING] * 1000)
    began = time.monotonic()
    assert worker.read(0) == Read(b"", 0)
    assert time.monotonic() - began < 1
    worker.log.answers.clear()
    wait_until(lambda: worker.read_all() == LINE * 3, "it to be read", 5)


@pytest.mark.parametrize("is_over", [True, False])
def test_nobody_waits_longer_than_wanted_for_a_log_that_does_not_come(worker, is_over):
    """As of a node that is gone without a word."""
    worker.print(3)
    worker.log.is_stuck = True
    worker.log.over = is_over
    stream = worker.opened()
    assert stream.admits(0)
    began = time.monotonic()
    with pytest.raises(ClusterUnavailableError) if is_over else nullcontext():
        assert stream.read(0, 1 << 20, most_seconds=0.1) == Read(b"", 0)
    assert time.monotonic() - began < 1
    stream.close()


def test_what_follows_is_read_as_it_comes(worker):
    for number in range(5):
        worker.print(1)
        at = number * len(LINE)
        wait_until(lambda at=at: worker.read(at).data == LINE, "the line", 5)
        wait_until(lambda: worker.log.follows == [False, True], "it to be followed", 5)


def test_what_a_node_has_dropped_is_one_line_by_itself(worker):
    worker.print(3)
    assert worker.read_all() == LINE * 3
    worker.streams.close("run")
    worker.print(4)
    worker.log.rotate()
    worker.print(2)
    worker.log.end()
    note = worker.read(3 * len(LINE))
    assert (note.is_note, note.position) == (True, 7 * len(LINE))
    assert note.data == b"[makerflow: 400 bytes of output are missing here: the node has kept the end of the log]\n"
    assert worker.read_all(note.position) == LINE * 2


def test_one_that_is_closed_before_it_is_open_lets_go_of_its_connection(worker):
    worker.log.seconds_until_opened, worker.log.is_stuck = 0.2, True
    stream = worker.opened()
    wait_until(lambda: worker.log.follows == [False], "it to ask", 5)
    stream.close()
    wait_until(lambda: "log of pod" not in [each.name for each in threading.enumerate()], "its thread to end", 5)
    assert worker.log.open == 0


def test_what_is_over_and_read_takes_no_room(worker):
    worker.print(5)
    worker.log.end()
    stream = worker.opened()
    assert stream.admits(0)
    assert stream.read(0, 1 << 20) == Read(LINE * 5, 5 * len(LINE))
    assert stream.read(5 * len(LINE), 1 << 20) == Read(b"", 5 * len(LINE), ended=True)
    assert not stream.admits(0)
    assert stream.admits(5 * len(LINE))


def test_what_nobody_reads_any_more_is_closed(worker, monkeypatch):
    worker.print(5)
    worker.read_all()
    wait_until(lambda: worker.log.follows == [False, True], "it to be followed", 5)
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    worker.streams.listen("other", 0, "pod of another", lambda: worker.opened(pod="pod of another", silent=True))
    wait_until(lambda: worker.log.open == 1, "the first to be closed", 5)
    worker.streams.close("other")


def test_events_are_heard_over_one_connection_of_the_newest_pod(worker):
    for pod in ("first", "first", "second", "second"):
        worker.streams.listen("run", 0, pod, lambda pod=pod: worker.opened(pod=pod, silent=True))
        wait_until(lambda: worker.log.open == 1, "one to be open", 5)
    assert len(worker.log.follows) == 2
    worker.log.tell({"kind": "usage"})
    wait_until(lambda: worker.told == [{"kind": "usage"}], "the event", 5)


def test_who_reads_hears_the_events_too(worker):
    worker.streams.listen("run", 0, "pod", lambda: worker.opened(silent=True))
    worker.print(1)
    assert worker.read_all() == LINE
    wait_until(lambda: worker.log.open == 1, "the silent one to be closed", 5)
    worker.streams.listen("run", 0, "pod", lambda: worker.opened(silent=True))
    wait_until(lambda: worker.log.follows == [True, False, True], "the log to be followed again", 5)


def test_a_reader_that_goes_on_to_the_next_attempt_leaves_the_earlier_one_to_the_others(worker):
    worker.print(3)
    with ThreadPoolExecutor(1) as pool:
        in_thread(pool, lambda: worker.read(0, len(LINE)).data)()
        assert worker.read(0, pod="next").data == LINE * 3
        assert in_thread(pool, lambda: worker.read(len(LINE)).data)() == LINE * 2
        wait_until(lambda: len(worker.log.follows) == 4, "both to be followed", 5)
        in_thread(pool, lambda: worker.read(0, pod="next").data)()
    wait_until(lambda: worker.log.open == 1, "the earlier one to be closed", 5)


def test_of_a_worker_that_is_over_one_read_gives_as_much_as_is_asked_for(worker):
    worker.print(40)
    worker.log.end()
    worker.log.seconds_between_pieces = 0.02
    assert worker.read(0).data == 40 * LINE
    assert len(worker.read(0, at_most=25 * len(LINE)).data) == 25 * len(LINE)
