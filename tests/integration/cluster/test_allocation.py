import fcntl
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from blocks.cluster import agent_lock
from blocks.cluster.allocation import Placement, Queue, Ticket, release, ticket_of, wait_for_turn
from blocks.cluster.capacity import Room, capacity, check_fits
from blocks.cluster.layout import write_json
from blocks.domain.errors import CapacityError
from tests.integration.cluster.conftest import make_run
from tests.waiting import wait_until

ROOM = Room(2, 1024, 0)

AGENT = """
import os, sys, time
from pathlib import Path
from blocks.cluster import agent_lock
from blocks.cluster.allocation import wait_for_turn
run, home = Path(sys.argv[1]), Path(sys.argv[1]).parent.parent
lock = agent_lock.acquire(run / "agent.lock")
if wait_for_turn(run, lambda reason: None, lambda: False):
    with (home / "log").open("a") as log:
        log.write(f"+{run.name}\\n")
        log.flush()
        time.sleep(0.02)
        log.write(f"-{run.name}\\n")
"""


class Agent:
    """A run of this home whose agent this test is."""

    def __init__(self, home: Path, run_id: str, **facts: object) -> None:
        self.layout = make_run(home, run_id, **facts)
        self.queue = Queue(home, ROOM)
        self.lock = agent_lock.acquire(self.layout.lock)
        self.queue.enter(ticket_of(self.layout.directory))

    def place(self) -> Placement | str:
        return self.queue.place(self.layout.run_id)

    def die(self) -> None:
        assert self.lock is not None
        os.close(self.lock)
        self.lock = None

    def __del__(self) -> None:
        if self.lock is not None:
            os.close(self.lock)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("placed", [True, False])
def test_a_ticket_is_what_its_file_is_called(placed):
    ticket = Ticket(17, "run-1", Room(1.5, 2048, 2), placed, (0, 3) if placed else ())
    assert Ticket.read(ticket.name) == ticket


@pytest.mark.req("TRN-05")
def test_runs_are_placed_in_the_order_of_their_creation_whatever_the_order_of_asking(home):
    first, second = Agent(home, "b", created_us=1, vcpus=2), Agent(home, "a", created_us=2, vcpus=2)
    assert second.place() == "waiting for its turn: 1 run is ahead"
    assert isinstance(first.place(), Placement)
    assert second.place() == "waiting for 2 vCPU: 2 of 2 are used by run b"


def test_a_small_run_does_not_overtake_a_large_one_that_waits(home):
    agents = [Agent(home, f"run-{n}", created_us=n, vcpus=v) for n, v in enumerate((1, 2, 1))]
    assert isinstance(agents[0].place(), Placement)
    assert agents[1].place() == "waiting for 2 vCPU: 1 of 2 are used by run run-0"
    assert agents[2].place() == "waiting for its turn: 1 run is ahead"


def test_the_reason_names_what_is_short_who_has_it_and_how_many_are_ahead(home):
    labels = {"training": "trn-1", "name": "digits-1"}
    agents = [
        Agent(home, "trn-1", created_us=1, memory_mib=1000, labels=labels),
        Agent(home, "trn-2", created_us=2, memory_mib=100),
        Agent(home, "trn-3", created_us=3, memory_mib=100),
    ]
    assert str(agents[0].place()).startswith("Placement(where='1 vCPU, 1000 MiB on ")
    assert agents[2].place() == (
        "waiting for 100 MiB of memory: 1000 of 1024 MiB are used by training digits-1; 1 run is ahead"
    )


def test_the_room_of_a_dead_agent_and_its_place_in_the_queue_are_free_at_once(home):
    first, second, third = (Agent(home, f"run-{n}", created_us=n, vcpus=2) for n in range(3))
    first.place()
    assert isinstance(third.place(), str)
    first.die()
    second.die()
    assert isinstance(third.place(), Placement)
    assert len(list((home / "queue").glob("*.placed"))) == 1


def test_what_a_dead_agent_left_running_is_ended_before_its_room_is_given_away(home):
    first, second = (Agent(home, f"run-{n}", created_us=n, vcpus=2) for n in range(2))
    first.place()
    environment = {"MAKERFLOW_RUN": str(first.layout.directory)}
    with subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True) as worker:
        first.die()
        assert isinstance(second.place(), Placement)
        assert worker.wait(10) == -9


def test_the_next_agent_of_a_run_is_not_started_while_its_old_processes_are_being_ended(home):
    agent = Agent(home, "run-1")
    agent.die()
    with agent_lock.looking(agent.layout.lock) as dead:
        assert dead
        command = [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from blocks.cluster import agent_lock\n"
            "print(agent_lock.acquire(Path(sys.argv[1])) is not None)",
            str(agent.layout.lock),
        ]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)
    assert second.communicate(timeout=20)[0] == "True\n"


def test_gpus_are_given_to_one_run_at_a_time(home, monkeypatch):
    agents = [Agent(home, f"run-{n}", created_us=n, vcpus=0.1, gpus=g) for n, g in enumerate((1, 2, 1, 1))]
    for agent in agents:
        agent.queue = Queue(home, Room(2, 1024, 3))
    placed = [agent.place() for agent in agents]
    assert [p.gpus for p in placed[:2] if isinstance(p, Placement)] == [(0,), (1, 2)]
    assert placed[2] == "waiting for 1 GPU: 3 of 3 are used by run run-0, run run-1"
    release(agents[0].layout.directory)
    assert agents[2].place() == Placement(f"0.1 vCPU, 64 MiB, 1 GPU on {os.uname().nodename}", (0,))


def test_a_stopped_run_leaves_the_queue(home):
    first = Agent(home, "run-0", created_us=0, vcpus=2)
    first.place()
    second = Agent(home, "run-1", created_us=1, vcpus=2)
    write_json(second.layout.settings, {"vcpus": 2})
    reasons: list[str] = []
    assert wait_for_turn(second.layout.directory, reasons.append, lambda: len(reasons) > 0) is None
    assert reasons == ["waiting for 2 vCPU: 2 of 2 are used by run run-0"]
    assert not list((home / "queue").glob("*run-1*"))


@pytest.mark.req("TRN-05")
def test_a_run_whose_ticket_was_taken_for_that_of_one_that_is_gone_enters_again(home):
    agent = Agent(home, "run-1")
    release(agent.layout.directory)
    assert isinstance(agent.place(), Placement)


def test_many_agents_that_start_and_die_at_once_never_use_more_than_there_is(home):
    agents = []
    for number in range(8):
        layout = make_run(home, f"run-{number:02}", created_us=number, vcpus=1)
        write_json(layout.settings, {"vcpus": 2})
        agents.append(subprocess.Popen([sys.executable, "-c", AGENT, str(layout.directory)]))
    agents[3].kill()
    agents[5].kill()
    for agent in agents:
        agent.wait(60)
    running: set[str] = set()
    for line in (home / "log").read_text().splitlines():
        (running.add if line[0] == "+" else running.discard)(line[1:])
        assert len(running) <= 2 + len({"run-03", "run-05"} & running)
    finished = {line[1:] for line in (home / "log").read_text().splitlines() if line[0] == "-"}
    assert {f"run-{n:02}" for n in range(8) if n not in (3, 5)} <= finished


def test_an_agent_that_waits_is_small(home):
    blocker = Agent(home, "run-0", created_us=0, vcpus=2)
    blocker.place()
    layout = make_run(home, "run-1", created_us=1)
    write_json(layout.settings, {"vcpus": 2})
    with subprocess.Popen([sys.executable, "-c", AGENT, str(layout.directory)]) as agent:
        wait_until(lambda: bool(list((home / "queue").glob("*run-1*"))))
        pages = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[1])
        blocker.die()
    assert pages * os.sysconf("SC_PAGE_SIZE") < 16 << 20


def test_a_directory_that_another_run_replaced_is_not_locked_for_the_old_one(home):
    layout = make_run(home, "run-1")
    descriptor = os.open(layout.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    layout.lock.unlink()
    layout.lock.touch()
    lock = agent_lock.acquire(layout.lock)
    assert lock is not None
    with closing(os.fdopen(lock)), closing(os.fdopen(descriptor)):
        assert agent_lock.is_held(layout.lock)
    assert not agent_lock.is_held(layout.lock)


def test_what_can_never_fit_is_refused_with_both_numbers():
    with pytest.raises(CapacityError, match=r"8 vCPU, 64 MiB asked for, 2 vCPU, 1024 MiB available\. Use a smaller"):
        check_fits("run-1", Room(8, 64), ROOM)
    check_fits("run-1", Room(2, 1024), ROOM)


def test_the_machine_has_what_the_settings_say_or_what_it_finds():
    assert capacity(3, 100).vcpus == 3
    found = capacity()
    assert 0 < found.vcpus <= (os.cpu_count() or 1)
    assert found.memory_mib > 0


def test_a_wait_costs_next_to_nothing(home):
    blocker = Agent(home, "run-0", created_us=0, vcpus=2)
    blocker.place()
    waiter = Agent(home, "run-1", created_us=1, vcpus=2)
    waiter.place()
    began, used = time.monotonic(), time.thread_time()
    waiter.queue.wait_for_change(lambda: time.monotonic() - began > 1, time.sleep)
    assert time.thread_time() - used < 0.3
