"""How the usage of all workers comes to the sidecar of rank 0."""

import queue
import socket
import threading
import time
from typing import Any

import pytest

from blocks.launcher import pod_relay
from blocks.launcher.pod_relay import relay_usage, usage_sender
from tests.waiting import wait_until

SAMPLE = {"attempt": 1, "seconds": 2.0, "host": "node1", "network": "worker"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> tuple[int, "queue.Queue[dict[str, Any]]"]:
    monkeypatch.setattr(pod_relay, "LEAST_SECONDS", 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found: queue.Queue[dict[str, Any]] = queue.Queue()
    emit = lambda kind, **fields: found.put({"kind": kind, **fields})  # noqa: E731
    threading.Thread(target=relay_usage, args=(3, "run/1", emit, port), daemon=True).start()
    return port, found


def worker(rank: object, cpu: float = 1.0) -> list[dict[str, object]]:
    return [{"rank": rank, "values": {"cpu": cpu}}]


def until_heard(port: int, found: "queue.Queue[dict[str, Any]]") -> dict[str, Any]:
    """Tell again until the relay listens, as a lost sample is no loss."""
    send = usage_sender("127.0.0.1", "run/1", port)
    for _ in range(200):
        send("usage", **SAMPLE, workers=worker(1))
        try:
            return found.get(timeout=0.1)
        except queue.Empty:
            continue
    raise AssertionError("nothing was heard")


def test_what_another_worker_uses_is_told_as_rank_0s_own(told):
    assert until_heard(*told) == {"kind": "usage", **SAMPLE, "workers": worker(1)}


def test_strangers_and_nonsense_are_not_heard(told):
    port, found = told
    until_heard(port, found)
    for sample in (worker(0), worker(3), worker(-1), worker("x"), [], worker(1) * 2):
        usage_sender("127.0.0.1", "run/1", port)("usage", **SAMPLE, workers=sample)
    usage_sender("127.0.0.1", "run/2", port)("usage", **SAMPLE, workers=worker(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for text in (b"", b"\xff", b"[]", b"{}", b'{"workers": 7}', b'{"workers": [{"rank": Infinity}]}', b"[" * 4000):
            stranger.sendto(text, ("127.0.0.1", port))
    usage_sender("127.0.0.1", "run/1", port)("usage", **SAMPLE, workers=worker(2, 7.0), more="dropped")
    while (last := found.get(timeout=30))["workers"] == worker(1):
        pass  # sent before the relay was heard
    assert last == {"kind": "usage", **SAMPLE, "workers": worker(2, 7.0)}


def test_of_each_worker_no_more_is_told_than_it_has_to_say(told, monkeypatch):
    port, found = told
    until_heard(port, found)
    monkeypatch.setattr(pod_relay, "LEAST_SECONDS", 1000.0)
    for _ in range(5):
        usage_sender("127.0.0.1", "run/1", port)("usage", **SAMPLE, workers=worker(1))
    usage_sender("127.0.0.1", "run/1", port)("usage", **SAMPLE, workers=worker(2))
    while (last := found.get(timeout=30))["workers"] == worker(1):
        pass
    assert last["workers"] == worker(2)
    assert found.empty()


def test_a_port_that_an_entry_point_has_is_told_once_and_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(pod_relay, "RETRY_SECONDS", 0.05)
    found: queue.Queue[dict[str, Any]] = queue.Queue()
    emit = lambda kind, **fields: found.put({"kind": kind, **fields})  # noqa: E731
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        threading.Thread(target=relay_usage, args=(3, "run/1", emit, port), daemon=True).start()
        wait_until(lambda: bool(said := capsys.readouterr().err) and f"port {port}" in said, "it to say so")
        time.sleep(0.3)
    assert until_heard(port, found) == {"kind": "usage", **SAMPLE, "workers": worker(1)}
    assert capsys.readouterr().err == ""
