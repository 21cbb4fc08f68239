"""TensorBoards behind the front door: real ones."""

import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.doubles.front_door import RunningFrontDoor, running_front_door
from tests.waiting import wait_until


def write_scalar(directory: Path, tag: str, value: float, step: int) -> None:
    """One point of a curve, as any library writes it."""
    directory.mkdir(parents=True, exist_ok=True)
    event = Event(wall_time=1.0, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
    with (directory / "events.out.tfevents.1.test").open("ab") as file:
        writer = RecordWriter(file)
        writer.write(event.SerializeToString())
        writer.flush()


def runs(client: httpx.Client, experiment_id: str) -> list[str]:
    answer = client.get(f"/tensorboard/{experiment_id}/data/runs")
    return sorted(answer.json()) if answer.is_success else []


def boards_of(door: RunningFrontDoor) -> list[psutil.Process]:
    """The processes that show events, TensorBoard's and its loader's."""
    return psutil.Process(door.access.pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; who adopted it may take its time to note it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.req("EXP-03", "ENV-02")
def test_the_first_visit_starts_the_experiments_board_which_shows_all_its_trainings_as_they_run(
    door: RunningFrontDoor,
) -> None:
    events = door.front_door.boards / "exp-first"
    write_scalar(events / "one", "loss", 0.5, 1)
    write_scalar(events / "two" / "worker-1", "loss", 0.25, 1)
    with door.client(headers=door.with_token, follow_redirects=True) as client:
        page = client.get("/tensorboard/exp-first/")
        assert "TensorBoard" in page.text
        assert page.url.path == "/tensorboard/exp-first/"
        assert any("default-src 'self'" in policy for policy in page.headers.get_list("content-security-policy"))
        wait_until(lambda: runs(client, "exp-first") == ["one", "two/worker-1"])
        write_scalar(events / "three", "loss", 0.125, 1)  # what starts while it is looked at appears too
        wait_until(lambda: runs(client, "exp-first") == ["one", "three", "two/worker-1"])


def test_a_board_listens_where_no_other_account_reaches_it(door: RunningFrontDoor) -> None:
    write_scalar(door.front_door.boards / "exp-first" / "one", "loss", 0.5, 1)
    with door.client(headers=door.with_token, follow_redirects=True) as client:
        client.get("/tensorboard/exp-first/")
    board, *_ = boards_of(door)
    assert [c for c in board.net_connections("tcp") if c.status == psutil.CONN_LISTEN] == []


@pytest.mark.req("EXP-03")
def test_a_machine_without_the_fast_loaders_program_has_boards_too(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_DATA_SERVER_BINARY", "/none")
    with running_front_door(own_directory) as door:
        write_scalar(door.front_door.boards / "exp-1" / "one", "loss", 0.5, 1)
        with door.client(headers=door.with_token, follow_redirects=True) as client:
            assert client.get("/tensorboard/exp-1/").is_success
            wait_until(lambda: runs(client, "exp-1") == ["one"])


def test_a_board_that_died_is_started_anew(door: RunningFrontDoor) -> None:
    write_scalar(door.front_door.boards / "exp-dead" / "one", "loss", 0.5, 1)
    with door.client(headers=door.with_token, follow_redirects=True) as client:
        client.get("/tensorboard/exp-dead/")
        before = {process.pid for process in boards_of(door)}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: client.get("/tensorboard/exp-dead/").is_success)
        assert before.isdisjoint(process.pid for process in boards_of(door))


def test_as_many_boards_run_as_allowed_and_the_one_longest_unused_makes_room(door: RunningFrontDoor) -> None:
    for name in ("exp-a", "exp-b", "exp-c"):
        write_scalar(door.front_door.boards / name / "one", "loss", 0.5, 1)
    with door.client(headers=door.with_token, follow_redirects=True) as client:
        for name in ("exp-a", "exp-b", "exp-a", "exp-c"):
            assert client.get(f"/tensorboard/{name}/").is_success
        prefixes = [process.cmdline()[-3] for process in boards_of(door) if "--prefix" in process.cmdline()]
        assert sorted(prefixes) == ["/tensorboard/exp-a", "/tensorboard/exp-c"]


@pytest.mark.parametrize("path", ["exp-none", "exp-none/data/runs", "..", ".", "EXP", "a" * 41])
def test_what_is_no_experiment_has_no_board(door: RunningFrontDoor, path: str) -> None:
    before = boards_of(door)
    with door.client(headers=door.with_token) as client:
        assert client.get(f"/tensorboard/{path}").status_code in (200, 404)
    assert set(boards_of(door)) <= set(before)


def test_boards_end_when_nobody_uses_them_and_with_the_service(own_directory: Path) -> None:
    with running_front_door(own_directory, idle_seconds=3) as door:
        write_scalar(door.front_door.boards / "exp-1" / "one", "loss", 0.5, 1)
        with door.client(headers=door.with_token, follow_redirects=True) as client:
            assert client.get("/tensorboard/exp-1/").is_success
            started = boards_of(door)
            wait_until(lambda: all(map(is_gone, started)))
            assert client.get("/tensorboard/exp-1/").is_success
            started = boards_of(door)
            assert started
        door.access.kill()
        wait_until(lambda: all(map(is_gone, started)))


@pytest.mark.req("EXP-03")
def test_a_thousand_trainings_stay_usable(own_directory: Path) -> None:
    with running_front_door(own_directory) as door:
        for number in range(1000):
            write_scalar(door.front_door.boards / "exp-1" / f"training-{number:04}", "loss", 1 / (number + 1), 1)
        with door.client(headers=door.with_token, follow_redirects=True) as client:
            assert client.get("/tensorboard/exp-1/").is_success
            wait_until(lambda: len(runs(client, "exp-1")) == 1000)
            tags = client.get("/tensorboard/exp-1/data/plugin/scalars/tags").json()
            assert len(tags) == 1000
