"""Ports for a rendezvous that no other training of this machine gets.

A port that is free when it is chosen is not free for long: another training may choose it before the first one's
workers listen. So each choice is written down as a lock on one byte of a file, which the kernel frees when the agent is
gone, however it went.
"""

import fcntl
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

# Below the range from which the kernel takes ports of outgoing connections, which would collide by chance.
FIRST_PORT = 15_000
LAST_PORT = 32_000

STRIDE = 7919
"""From one port to the next that is tried; a prime that does not divide their number, so that all have their turn."""


class PortLease:
    """The ports of one run. Every process that takes ports opens the file once: closing any handle frees all."""

    def __init__(self, home: Path) -> None:
        directory = home / "ports"
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(directory / f"{socket.gethostname()}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: list[int] = []

    def take(self, count: int) -> tuple[int, ...]:
        """`count` ports that nobody listens on and no other run holds.

        Raises:
            OSError: There are not so many.
        """
        taken: list[int] = []
        for port in _in_any_order():
            if len(taken) == count:
                break
            if self._lock(port):
                self._held.append(port)
                taken.append(port)
        if len(taken) < count:
            raise OSError(f"no {count} free ports between {FIRST_PORT} and {LAST_PORT}")
        return tuple(taken)

    def release(self) -> None:
        """Give all of them back."""
        for port in self._held:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)
        self._held.clear()

    def _lock(self, port: int) -> bool:
        if port in self._held:  # a second lock by the same process succeeds
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        if _is_bindable(port):
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)
        return False


def _in_any_order() -> Iterator[int]:
    """Every port once, beginning anywhere: to shuffle them all takes longer than all that a short run does else."""
    ports = range(FIRST_PORT, LAST_PORT)
    (start,) = random.sample(ports, 1)
    return (ports[(start + number * STRIDE) % len(ports)] for number in range(len(ports)))


def _is_bindable(port: int) -> bool:
    """Whether anybody can listen there, on every address."""
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
