import errno
import itertools
import resource
import threading
import time
from pathlib import Path

import pytest

from blocks.cluster.changes import DirectoryWatch
from blocks.cluster.events import EventLog, is_over, last_event
from blocks.cluster.watch import watch_events


def write(directory: Path, run_id: str, *kinds: str) -> None:
    log = EventLog(directory / f"{run_id}.jsonl", run_id)
    for kind in kinds:
        fields = {"queued": {"reason": "full"}, "placed": {"where": "here"}, "finished": {"cause": "ok"}}[kind]
        log.append(kind, **fields)
    log.close()


def watch(directory: Path, run_id: str = "", since=None, idle_seconds: float | None = 0.05, selected=lambda _: True):
    return watch_events(directory, run_id, selected, since or {}, idle_seconds)


def take(events) -> list[tuple[str, int]]:
    return [(event.run_id, event.sequence) for event in itertools.takewhile(lambda event: event is not None, events)]


def test_events_are_numbered_over_writers_and_a_torn_line_never_was_one(tmp_path):
    file = tmp_path / "run-1.jsonl"
    write(tmp_path, "run-1", "queued", "placed")
    with file.open("ab") as torn:
        torn.write(b'{"kind":"finished","sequ')
    assert last_event(file)["kind"] == "placed"
    assert not is_over(file)
    assert take(watch(tmp_path)) == [("run-1", 1), ("run-1", 2)]
    write(tmp_path, "run-1", "finished")
    assert is_over(file)
    assert take(watch(tmp_path)) == [("run-1", 1), ("run-1", 2), ("run-1", 3)]


def test_the_last_event_is_found_whatever_its_size(tmp_path):
    for size in (1, 65_000, 70_000, 200_000):
        file = tmp_path / f"run-{size}.jsonl"
        log = EventLog(file, f"run-{size}")
        for _ in range(3):
            log.append("queued", reason="x" * size)
        log.close()
        assert last_event(file)["sequence"] == 3
        assert EventLog(file, "").last["sequence"] == 3
    assert last_event(tmp_path / "absent.jsonl") is None


def test_an_event_that_finds_no_room_is_not_written_by_half(tmp_path):
    log = EventLog(tmp_path / "run-1.jsonl", "run-1")
    log.append("queued", reason="x")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run-1.jsonl").stat().st_size + 10, hard))
    try:
        with pytest.raises(OSError, match=r"No space left|File too large"):
            log.append("queued", reason="y")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append("placed", where="here")
    assert take(watch(tmp_path)) == [("run-1", 1), ("run-1", 2)]


def test_a_line_is_an_event_only_when_it_is_whole(tmp_path):
    write(tmp_path, "run-1", "queued")
    whole = (tmp_path / "run-1.jsonl").read_bytes()
    (tmp_path / "run-1.jsonl").write_bytes(whole[:30])
    stream = watch(tmp_path)
    assert next(stream) is None
    with (tmp_path / "run-1.jsonl").open("ab") as file:
        file.write(whole[30:])
    assert next(stream).sequence == 1
    stream.close()


def test_runs_that_begin_later_are_seen_and_those_of_others_do_not_count_as_news(tmp_path):
    stream = watch(tmp_path, selected=lambda run_id: run_id.startswith("mine"), idle_seconds=0.3)
    assert next(stream) is None
    stop = threading.Event()

    def others() -> None:
        while not stop.wait(0.01):
            write(tmp_path, "other", "queued")

    thread = threading.Thread(target=others)
    thread.start()
    assert next(stream) is None
    write(tmp_path, "mine-2", "queued")
    assert next(stream).run_id == "mine-2"
    stop.set()
    thread.join()
    stream.close()


def test_an_event_arrives_as_soon_as_it_is_written(tmp_path):
    stream = watch(tmp_path, "run-1", idle_seconds=30)
    written: list[float] = []

    def later() -> None:
        write(tmp_path, "run-1", "queued")
        written.append(time.monotonic())

    timer = threading.Timer(0.3, later)
    timer.start()
    assert next(stream).kind == "queued"
    arrived = time.monotonic()
    timer.join()
    assert arrived - written[0] < 2
    stream.close()


def test_a_watch_that_does_not_wait_still_sees_what_comes(tmp_path):
    stream = watch(tmp_path, idle_seconds=0)
    assert next(stream) is None
    write(tmp_path, "run-1", "queued")
    assert next(event for event in stream if event).sequence == 1
    stream.close()


def test_a_run_that_was_removed_and_launched_again_is_told_from_the_beginning(tmp_path):
    write(tmp_path, "run-1", "queued", "placed", "finished")
    stream = watch(tmp_path, "run-1", since={"run-1": 2})
    assert next(stream).sequence == 3
    (tmp_path / "run-1.jsonl").unlink()
    assert next(stream) is None
    write(tmp_path, "run-1", "queued")
    assert next(stream).sequence == 1
    stream.close()


def test_a_watch_of_one_run_opens_no_other_file(tmp_path):
    write(tmp_path, "run-1", "queued")
    (tmp_path / "broken.jsonl").write_text("no event\n")
    assert take(watch(tmp_path, "run-1")) == [("run-1", 1)]


def test_finished_runs_are_passed_over_by_their_cursors_and_cost_nothing_afterwards(tmp_path):
    line = b'{"kind":"queued","run_id":"r","sequence":1,"at":"2030-01-01T00:00:00Z","reason":""}\n'
    for number in range(2_000):
        (tmp_path / f"run-{number}.jsonl").write_bytes(line)
    stream = watch(tmp_path, since={f"run-{number}": 1 for number in range(2_000)}, idle_seconds=0.001)
    assert next(stream) is None
    write(tmp_path, "run-5", "placed")
    used = time.thread_time()
    assert next(event for event in stream if event).sequence == 2
    assert time.thread_time() - used < 0.3
    stream.close()


def test_when_the_kernel_has_no_watches_left_everything_is_looked_at(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("blocks.cluster.changes.INotify", refuse)
    with DirectoryWatch(tmp_path) as changes:
        assert changes.changed(0.01) is None
    write(tmp_path, "run-1", "queued")
    stream = watch(tmp_path, idle_seconds=5)
    assert next(stream).sequence == 1
    write(tmp_path, "run-1", "placed")
    assert next(stream).sequence == 2
    stream.close()
