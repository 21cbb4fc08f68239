"""What one fetch brings into the cache, so that of many processes one brings each object."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from blocks.storage.cache import Cache
from blocks.storage.incoming import Incoming

BUSY_SECONDS = 0.2
"""Between two looks whether another process has brought an object in."""

_BATCH = 64
"""Objects that are recorded together; each holds a file open until then."""

SETTLE_SECONDS = 0.5
"""So long an object waits for others to be recorded with: what a killed process would have to fetch again."""

Arrived = Callable[[str, Path, bool], None]
"""Told the address and file of an object, and whether somebody else brought it in."""


class ClaimedError(Exception):
    """Somebody else brings the object in: ask again in BUSY_SECONDS."""


class Arrivals:
    """The objects of one fetch: claimed, brought, then recorded in batches. Safe with many threads.

    Whoever fetches calls `settle` when `add` says so, and each SETTLE_SECONDS while nothing arrives.
    """

    def __init__(self, cache: Cache, arrived: Arrived) -> None:
        self._cache, self._arrived = cache, arrived
        self._waiting: list[tuple[Incoming, str]] = []
        self._lock = threading.Lock()
        self._settled_at = time.monotonic()

    def claim(self, address: str) -> Incoming | None:
        """The right to bring in that object; None when somebody else has done it, which is reported.

        Raises:
            ClaimedError: Somebody does it now. What we hold was let go, so that two fetches never wait for each other.
        """
        incoming = self._cache.claim(address)
        if incoming is None:
            self.settle()
            raise ClaimedError
        file = self._cache.path(address)
        if file.exists() and self._cache.find([address]):
            incoming.discard()
            self._arrived(address, file, True)
            return None
        return incoming

    def add(self, incoming: Incoming, digest: str) -> bool:
        """Take a complete and verified object; whether it is time to `settle`."""
        with self._lock:
            self._waiting.append((incoming, digest))
            return len(self._waiting) >= _BATCH or time.monotonic() - self._settled_at >= SETTLE_SECONDS

    def settle(self) -> None:
        """Record what waits, and report it."""
        with self._lock:
            settled, self._waiting = self._waiting, []
            self._settled_at = time.monotonic()
        if settled:
            self._cache.settle(settled)
        for incoming, _ in settled:
            self._arrived(incoming.address, self._cache.path(incoming.address), False)
