"""The one instance of a home: who holds the right to be it, and what it says of itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.gateway.front_door import write_private
from blocks.locks import is_locked, try_lock
from deployments.up.layout import Layout

GLANCE_SECONDS = 0.5
"""Whoever only looks whether the lock is held, as `makerflow status` does, holds it for a moment."""


class Instance(BaseModel):
    """What a running instance says of itself.

    Attributes:
        pid: The guard's process.
        host: Where the front door listens.
        port: The same.
        url: The workflow UI, as it is reached from this machine.
        api: The API's address, likewise.
        asks_for_access: Whether an access string is required.
        started: When the guard started.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    host: str
    port: int
    url: str
    api: str
    asks_for_access: bool
    started: datetime

    def save(self, layout: Layout) -> None:
        """Let others know."""
        write_private(layout.state, self.model_dump_json(indent=1))


def running_instance(layout: Layout) -> Instance | None:
    """The living instance of a home; None when there is none, or when it has only just begun."""
    if not is_locked(layout.lock):
        return None
    with suppress(OSError, ValidationError):
        return Instance.model_validate_json(layout.state.read_bytes())
    return None


def is_ready(layout: Layout) -> bool:
    """Whether the instance has said that it serves."""
    try:
        return bool(layout.lock.read_text().strip())
    except FileNotFoundError:
        return False


@contextmanager
def being_the_instance(layout: Layout) -> Iterator["Announcement"]:
    """The right to be the instance of this home, for as long as the block lasts.

    Raises:
        InvalidInputError: Another has that right.
    """
    with layout.lock.open("a+") as file:
        if not _lock(file):
            address = layout.lock.read_text() or "it is just starting"
            raise InvalidInputError(
                "The platform", f"it runs on this home already ({address})", "Use that one, or end it: makerflow down."
            )
        file.truncate(0)  # what a dead one has left
        layout.state.unlink(missing_ok=True)
        try:
            yield Announcement(file)
        finally:
            file.truncate(0)
            layout.state.unlink(missing_ok=True)


class Announcement:
    """How commands on this home come to use the instance."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def make(self, api: str) -> None:
        """Say that the API answers at this address."""
        self._file.write(api)
        self._file.flush()


def _lock(file: TextIO) -> bool:
    deadline = time.monotonic() + GLANCE_SECONDS
    while not try_lock(file.fileno()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
