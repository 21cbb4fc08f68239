"""Sending the log store's records to a real HTTP server that behaves badly."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks.domain.errors import LogCollectorUnavailableError
from blocks.logs import collector as collector_requests
from blocks.logs import forwarding
from blocks.logs.forwarding import Forwarder
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import say

Answer = Callable[[list[dict[str, str]]], int]


class Collector:
    """An HTTP server that keeps what it takes; `answer` says with which status."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.authorizations: set[str] = set()
        self.requests = 0
        self.answer: Answer = lambda _: 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                documents = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.requests += 1
                collector.authorizations.add(self.headers.get("Authorization", ""))
                status = collector.answer(documents)
                if status == 200:
                    collector.bodies += [document["body"] for document in documents]
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/logs"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteLogStore]:
    store = SQLiteLogStore(tmp_path / "logs")
    yield store
    store.close()


@pytest.fixture
def forwarder(store: SQLiteLogStore, collector: Collector, tmp_path: Path) -> Forwarder:
    return Forwarder(store, tmp_path / "logs" / "forwarded", collector.url, "Bearer secret")


LINES = [f"line {number}" for number in range(2500)]


@pytest.mark.req("LOG-01")
def test_every_record_is_sent_once_in_order_and_with_the_header(
    store: SQLiteLogStore, collector: Collector, forwarder: Forwarder
) -> None:
    assert forwarder.forward(5) == 0
    say(store, *LINES)
    assert forwarder.forward(30) == 2500
    assert forwarder.forward(5) == 0
    say(store, "later")
    assert forwarder.forward(5) == 1
    assert collector.bodies == [*LINES, "later"]
    assert collector.authorizations == {"Bearer secret"}


def test_another_process_goes_on_where_the_last_one_ended(
    store: SQLiteLogStore, collector: Collector, forwarder: Forwarder, tmp_path: Path
) -> None:
    say(store, *LINES)
    forwarder.forward(0)
    assert len(collector.bodies) == forwarding.BATCH
    Forwarder(store, tmp_path / "logs" / "forwarded", collector.url).forward(30)
    assert collector.bodies == LINES


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("left", [b"\0" * 64, b"2026-11", b"\xff\xfe", b"yesterday"])
def test_where_it_is_not_known_any_more_what_was_sent_it_is_said_once_and_all_is_sent_again(
    store: SQLiteLogStore,
    collector: Collector,
    forwarder: Forwarder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    left: bytes,
) -> None:
    say(store, *LINES)
    forwarder.forward(30)
    place = tmp_path / "logs" / "forwarded"
    place.write_bytes(left)
    collector.answer = lambda _: 503
    with pytest.raises(LogCollectorUnavailableError):
        forwarder.forward(0)
    collector.answer = lambda _: 200
    assert forwarder.forward(30) == len(LINES)
    assert collector.bodies == LINES * 2
    assert forwarder.forward(5) == 0
    assert [str(place) in record.getMessage() for record in caplog.records if record.name == "makerflow"] == [True]


def test_only_one_sends_at_a_time(store: SQLiteLogStore, collector: Collector, forwarder: Forwarder) -> None:
    say(store, *LINES)
    entered, leave = threading.Event(), threading.Event()

    def slow(_: object) -> int:
        entered.set()
        leave.wait(30)
        return 200

    collector.answer = slow
    thread = threading.Thread(target=forwarder.forward, args=(30,))
    thread.start()
    assert entered.wait(30)
    assert forwarder.forward(5) == 0
    leave.set()
    thread.join()
    assert collector.bodies == LINES


def test_a_collector_that_is_away_for_a_while_misses_nothing(
    store: SQLiteLogStore, collector: Collector, forwarder: Forwarder
) -> None:
    say(store, *LINES[:10])
    collector.answer = lambda _: 503 if collector.requests < 3 else 200
    assert forwarder.forward(30) == 10
    assert collector.bodies == LINES[:10]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 302])
def test_a_collector_that_refuses_everything_is_told_and_gets_it_later(
    store: SQLiteLogStore, collector: Collector, forwarder: Forwarder, status: int
) -> None:
    say(store, "line")
    collector.answer = lambda _: status
    with pytest.raises(LogCollectorUnavailableError, match=f"answers {status}"):
        forwarder.forward(0)
    collector.answer = lambda _: 200
    assert forwarder.forward(5) == 1


def test_a_collector_that_is_not_there_is_told_without_the_secret(store: SQLiteLogStore, tmp_path: Path) -> None:
    say(store, "line")
    forwarder = Forwarder(store, tmp_path / "logs" / "forwarded", "http://127.0.0.1:1/", "Bearer secret")
    with pytest.raises(LogCollectorUnavailableError) as error:
        forwarder.forward(0)
    assert "secret" not in str(error.value)


def test_whoever_is_told_to_end_ends_at_once(store: SQLiteLogStore, collector: Collector, forwarder: Forwarder) -> None:
    say(store, "line")
    collector.answer = lambda _: 503
    over = threading.Event()
    threading.Timer(0.2, over.set).start()
    began = time.monotonic()
    with pytest.raises(LogCollectorUnavailableError):
        forwarder.forward(600, over)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_record_that_is_never_taken_holds_up_no_other(
    store: SQLiteLogStore,
    collector: Collector,
    forwarder: Forwarder,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    say(store, *LINES[:100])
    collector.answer = lambda found: status if any(document["body"] == "line 42" for document in found) else 200
    forwarder.forward(30)
    assert sorted(collector.bodies) == sorted(line for line in LINES[:100] if line != "line 42")
    assert "refuses a record" in caplog.text


class Trickle:
    """A server that takes a request and then says nothing, or a byte of an endless answer now and then."""

    def __init__(self, head: bytes, drop: bytes) -> None:
        self._head, self._drop = head, drop
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept()[0],), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1)
            self.asked.set()
            connection.sendall(self._head)
            while not self._over.wait(0.05):
                connection.sendall(self._drop)


TRICKLES = {
    "accepts and never answers": (b"", b""),
    "drips its headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "drips its body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
}


@pytest.fixture(params=TRICKLES)
def trickle(request: pytest.FixtureRequest) -> Iterator[Trickle]:
    server = Trickle(*TRICKLES[request.param])
    yield server
    server.close()


def test_a_request_ends_at_its_deadline_whatever_the_collector_does(
    store: SQLiteLogStore, trickle: Trickle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_requests, "GRACE_SECONDS", 0.5)
    say(store, "line")
    forwarder = Forwarder(store, tmp_path / "logs" / "forwarded", trickle.url)
    began = time.monotonic()
    with pytest.raises(LogCollectorUnavailableError, match="did not answer in time"):
        forwarder.forward(1.0)
    assert 1.0 <= time.monotonic() - began < 5
    assert trickle.asked.is_set()


def test_a_request_under_way_ends_soon_after_whoever_sends_is_told_to_end(
    store: SQLiteLogStore, trickle: Trickle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_requests, "GRACE_SECONDS", 0.5)
    say(store, "line")
    forwarder, over = Forwarder(store, tmp_path / "logs" / "forwarded", trickle.url), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(forwarder.forward, 600, over)
        assert trickle.asked.wait(30)
        began = time.monotonic()
        over.set()
        assert isinstance(sending.exception(timeout=30), LogCollectorUnavailableError)
    assert time.monotonic() - began < 5


def test_records_that_a_slow_collector_did_not_take_are_sent_when_it_is_quick_again(
    store: SQLiteLogStore, collector: Collector, trickle: Trickle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_requests, "GRACE_SECONDS", 0.1)
    say(store, *LINES[:10])
    with pytest.raises(LogCollectorUnavailableError):
        Forwarder(store, tmp_path / "logs" / "forwarded", trickle.url).forward(0)
    assert Forwarder(store, tmp_path / "logs" / "forwarded", collector.url).forward(30) == 10
    assert collector.bodies == LINES[:10]
