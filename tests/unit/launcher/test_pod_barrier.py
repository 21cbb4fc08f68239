"""Where the workers of a run wait for each other."""

import socket
import threading
from collections.abc import Callable

from blocks.launcher.pod_barrier import wait_for_others
from tests.waiting import wait_until

ADDRESSES = ("127.0.0.1",) * 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


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
    ranks = (b"run/1 0\n", b"run/1 2\n", b"run/1 -1\n", b"run/1 x\n", b"run/1 1", b"run/1\n")
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
