"""Waiting for what a test expects: as long as it takes, up to a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 60.0


def wait_for(look: Callable[[], T | None], what: str = "what was looked for", seconds: float = SECONDS) -> T:
    """The first thing that `look` finds; the test fails when it finds nothing in time."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return found


def wait_until(condition: Callable[[], bool], what: str = "the condition", seconds: float = SECONDS) -> None:
    """Return when the condition holds; the test fails when it does not in time."""
    wait_for(lambda: condition() or None, what, seconds)
