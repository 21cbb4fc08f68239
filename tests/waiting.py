"""Waiting for what a test expects: as long as it takes, up to a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 60.0
PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
PAUSE_SHARE = 4
"""A pause is so many times what looking took: looks without end would take the processor from what they wait for."""


def wait_for(look: Callable[[], T | None], what: str = "what was looked for", seconds: float = SECONDS) -> T:
    """The first thing that `look` finds; the test fails when it finds nothing in time."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if (found := look()) is not None:
            return found
        now = time.monotonic()
        assert now < deadline, f"waited {seconds} s for {what}"
        time.sleep(min(max(PAUSE_SECONDS, PAUSE_SHARE * (now - began)), LONGEST_PAUSE_SECONDS))


def wait_until(condition: Callable[[], bool], what: str = "the condition", seconds: float = SECONDS) -> None:
    """Return when the condition holds; the test fails when it does not in time."""
    wait_for(lambda: condition() or None, what, seconds)
