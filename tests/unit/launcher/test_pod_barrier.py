"""Where the workers of a run wait for each other."""

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from blocks.launcher import pod_barrier
from blocks.launcher.pod_barrier import Barrier, BrokenBarrierError
from tests.waiting import wait_until

ADDRESSES = ("127.0.0.1",) * 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_others(addresses: tuple[str, ...], rank: int, name: str, port: int) -> None:
    with Barrier(addresses, rank, name, port) as barrier:
        barrier.wait()


class Worker(threading.Thread):
    def __init__(self, rank: int, port: int, addresses: tuple[str, ...] = ADDRESSES) -> None:
        super().__init__(daemon=True)
        self._wait: Callable[[], None] = lambda: wait_for_others(addresses, rank, "run/1", port)
        self.start()

    def run(self) -> None:
        self._wait()


def test_one_that_is_alone_waits_for_nobody():
    wait_for_others(("127.0.0.1",), 0, "run/1", free_port())


def test_nobody_goes_on_before_all_are_there():
    port = free_port()
    early = [Worker(2, port), Worker(0, port)]
    wait_until(lambda: can_connect(port), "the first to listen")
    for worker in early:
        worker.join(1)
        assert worker.is_alive()
    late = Worker(1, port)
    for worker in (*early, late):
        worker.join(30)
        assert not worker.is_alive()


def test_who_left_before_all_were_there_does_not_count():
    port = free_port()
    first = Worker(0, port)
    wait_until(lambda: can_connect(port), "the first to listen")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"run/1 1\n")
    second = Worker(2, port)
    second.join(1)
    assert first.is_alive()
    assert second.is_alive()
    Worker(1, port).join(30)
    first.join(30)
    assert not first.is_alive()


def test_one_that_lost_its_connection_when_all_might_go_comes_again():
    port = free_port()
    first = Worker(0, port, addresses=ADDRESSES[:2])
    wait_until(lambda: can_connect(port), "the first to listen")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"run/1 1\n")
        assert connection.recv(10) == b"go\n"
    first.join(1)
    assert first.is_alive()
    wait_for_others(ADDRESSES[:2], 1, "run/1", port)
    first.join(10)
    assert not first.is_alive()


def test_many_who_say_nothing_keep_nobody_out():
    port = free_port()
    first = Worker(0, port, addresses=ADDRESSES[:2])
    wait_until(lambda: can_connect(port), "the first to listen")
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    wait_for_others(ADDRESSES[:2], 1, "run/1", port)
    first.join(30)
    assert not first.is_alive()
    for connection in silent:
        connection.close()


def test_nonsense_is_no_worker():
    port = free_port()
    first = Worker(0, port, addresses=ADDRESSES[:2])
    wait_until(lambda: can_connect(port), "the first to listen")
    ranks = (b"run/1 2\n", b"run/1 -1\n", b"run/1 x\n", b"run/1 1", b"run/1\n")
    for said in (*ranks, b"run/2 1\n", b"\xff\xfe\n", b"\n"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(said)
            assert connection.recv(10) == b""
    assert first.is_alive()
    wait_for_others(ADDRESSES[:2], 1, "run/1", port)
    first.join(30)
    assert not first.is_alive()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_rank_0_answers_while_it_still_brings_its_inputs():
    port = free_port()
    with Barrier(ADDRESSES[:2], 0, "run/1", port) as barrier:
        early = Worker(1, port, ADDRESSES[:2])
        early.join(1)
        assert early.is_alive()
        barrier.wait()
    early.join(10)
    assert not early.is_alive()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_barrier, "_HEARD_SECONDS", 0.5)
    monkeypatch.setattr(pod_barrier, "_UNREACHED_SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
def test_all_start_again_when_one_was_lost_after_all_had_come():
    port = free_port()
    lost = pytest.raises(BrokenBarrierError, match=r"^worker 1 was lost when all were there$")
    with Barrier(ADDRESSES[:2], 0, "run/1", port) as barrier, lost:
        wait_with_ghost(barrier, port)
    with pytest.raises(BrokenBarrierError, match="worker 0 cannot be reached"):
        wait_for_others(ADDRESSES[:2], 1, "run/1", port)  # it comes too late


def wait_with_ghost(barrier: Barrier, port: int) -> None:
    """One comes in time, and is gone with the word that all may go."""
    wait_until(lambda: can_connect(port), "the first to listen")

    def haunt() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"run/1 1\n")
            connection.recv(3)

    threading.Thread(target=haunt, daemon=True).start()
    barrier.wait()


@pytest.mark.usefixtures("impatient")
def test_a_port_that_does_not_answer_is_told_with_what_to_do():
    port = free_port()
    said = f"worker 0 cannot be reached on port {port} of 127.0.0.1 .*refused.*NetworkPolicy"
    with pytest.raises(BrokenBarrierError, match=said):
        wait_for_others(ADDRESSES, 2, "run/1", port)


@pytest.mark.usefixtures("impatient")
def test_one_that_hangs_up_each_time_is_not_called_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(BrokenBarrierError, match="cannot be reached"):
            wait_for_others(ADDRESSES, 1, "run/1", server.getsockname()[1])


@pytest.mark.usefixtures("impatient")
def test_a_dns_that_does_not_know_who_asks_is_told_and_one_whose_pod_is_pending_is_waited_for(monkeypatch):
    port, addresses = free_port(), ("127.0.0.1", "job-1.run")
    known = dict.fromkeys(addresses, False)
    monkeypatch.setattr(pod_barrier, "_has_place", known.__getitem__)
    with pytest.raises(BrokenBarrierError, match=r"not known job-1\.run.* the Service run is there"):
        wait_for_others(addresses, 1, "run/1", port)
    known["job-1.run"] = True
    waiting = Worker(1, port, addresses)
    waiting.join(1.5)
    assert waiting.is_alive()
    known["127.0.0.1"] = True
    wait_for_others(addresses, 0, "run/1", port)
    waiting.join(10)
    assert not waiting.is_alive()
