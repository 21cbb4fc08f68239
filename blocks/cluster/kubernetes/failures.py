"""What is tried again and again, and has failed for so long that somebody has to hear of it."""

import time
from collections.abc import Iterator

LASTING_SECONDS = 90.0
"""Longer than an API server takes to restart, and whoever waits for it to look again."""


class Failures:
    """Since when what has failed. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Exception]] = {}

    def note(self, what: str, error: Exception) -> None:
        """It failed."""
        since, _ = self._known.get(what, (time.monotonic(), error))
        self._known[what] = (since, error)

    def forget(self, what: str) -> None:
        """It went well, or is not tried any more."""
        self._known.pop(what, None)

    def lasting(self) -> Iterator[tuple[str, str]]:
        """What has failed for long, without a success between, and that in words."""
        now = time.monotonic()
        for what, (since, error) in list(self._known.items()):
            if now - since >= LASTING_SECONDS:
                yield what, f"for {now - since:.0f} seconds: {error}"
