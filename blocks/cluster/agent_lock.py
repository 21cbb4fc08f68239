"""The lock that proves that a run's agent lives.

The agent holds it exclusively from before its first instruction until its death: the kernel frees it, also after
`kill -9`. Who only wants to know takes it shared for a moment; who tidies up behind a dead agent holds it shared
meanwhile, so that nobody starts the next agent under his hands. Standard library only.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.locks import is_at, try_lock


def acquire(file: Path) -> int | None:
    """A descriptor that holds the lock; None when an agent holds it.

    The lock lasts until every copy of the descriptor, also those that other processes inherited, is closed.

    Raises:
        FileNotFoundError: The run is not there, or was removed meanwhile.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        if try_lock(descriptor):
            if is_at(file, descriptor):
                return descriptor
            os.close(descriptor)  # removed, and perhaps made anew, after it was opened
            continue
        agent_lives = not try_lock(descriptor, fcntl.LOCK_SH)
        os.close(descriptor)
        if agent_lives:
            return None
        time.sleep(0.002)  # somebody looks, or tidies up


def is_held(file: Path) -> bool:
    """Whether the agent lives."""
    with looking(file) as dead:
        return not dead


@contextmanager
def looking(file: Path) -> Iterator[bool]:
    """Gives whether the agent is dead; while this lasts it stays so, as nobody can start the next one."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
