"""What the workers of a run use reaches who follows it through the sidecar of rank 0, whose log is read in any case.

So it costs one connection to the API server for a run, however many workers it has. What is lost on the way is one
sample. Standard library only.
"""

import hmac
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from blocks.cluster.pod_settings import USAGE_PORT
from blocks.launcher.monitoring import LEAST_SECONDS
from blocks.launcher.pod_sockets import wait_for_socket

RETRY_SECONDS = 10.0
_MOST_BYTES = 4096
_FIELDS = {"attempt", "seconds", "host", "network", "workers"}

Emit = Callable[..., None]


def usage_sender(address: str, name: str, port: int = USAGE_PORT) -> Emit:
    """What tells the sidecar of rank 0, in place of a journal's `emit`.

    Args:
        address: Of rank 0.
        name: Of the run and the attempt.
        port: Where it listens.
    """

    def send(kind: str, **fields: object) -> None:
        text = json.dumps({**fields, "name": name}).encode()
        with suppress(OSError):
            family, sort, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, sort, protocol) as connection:
                connection.sendto(text, place)

    return send


def relay_usage(workers: int, name: str, emit: Emit, port: int = USAGE_PORT) -> NoReturn:
    """Tell what the other workers say, and of each no more than they have to say.

    Args:
        workers: How many there are.
        name: Of the run and the attempt: whoever says another is not heard.
        emit: Of rank 0's journal.
        port: Where to listen.
    """
    heard: dict[int, float] = {}
    lacking = "the usage of the other workers is not heard"
    with wait_for_socket(socket.SOCK_DGRAM, port, lacking, RETRY_SECONDS) as server:
        while True:
            text, _ = server.recvfrom(_MOST_BYTES)
            with suppress(Exception):  # entry points can send something, too: whatever it is, the next one is heard
                told = json.loads(text)
                [worker] = told["workers"]
                rank, now = int(worker["rank"]), time.monotonic()
                is_early = now - heard.get(rank, -LEAST_SECONDS) < LEAST_SECONDS / 2
                if hmac.compare_digest(told["name"], name) and 0 < rank < workers and not is_early:
                    heard[rank] = now
                    emit("usage", **{field: told[field] for field in _FIELDS})
