"""What is tried again and again, and has failed for so long that somebody has to hear of it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from blocks.domain.errors import ClusterUnavailableError, MakerflowError

LASTING_SECONDS = 90.0
"""Longer than an API server takes to restart, and whoever waits for it to look again."""


class Failures:
    """Since when what has failed. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, datetime, Exception]] = {}

    def note(self, what: str, error: Exception) -> None:
        """It failed."""
        began, since, _ = self._known.get(what, (time.monotonic(), datetime.now(UTC), error))
        self._known[what] = (began, since, error)

    def forget(self, what: str) -> None:
        """It went well, or is not tried any more."""
        self._known.pop(what, None)

    def lasting(self) -> Iterator[tuple[str, str]]:
        """What has failed for long, without a success between, and that in words, which stay the same meanwhile."""
        for what, (began, since, error) in list(self._known.items()):
            if time.monotonic() - began >= LASTING_SECONDS:
                yield what, f"since {since:%Y-%m-%d %H:%M:%S} UTC: {_said(error)}"


def _said(error: Exception) -> str:
    if isinstance(error, ClusterUnavailableError):  # who tells it says so, too
        return error.reason
    return str(error) if isinstance(error, MakerflowError) else f"unexpected {type(error).__name__}: {error}"
