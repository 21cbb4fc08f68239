"""`makerflow down`: the end of an instance, and what goes on without it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import psutil

from blocks.connections.platform import open_platform
from blocks.domain.errors import WorkflowServerUnavailableError
from blocks.domain.lifecycle import UNDER_WAY
from blocks.locks import is_locked
from blocks.registry.records import Query
from deployments.up.instance import Instance, running_instance
from deployments.up.layout import Layout
from deployments.up.leftovers import end_descendants

if TYPE_CHECKING:
    from blocks.registry.records import TrainingSummary

T = TypeVar("T")

END_SECONDS = 120.0
LEAVE_SECONDS = 5.0
MOST_TRAININGS = 1000


@dataclass(frozen=True)
class Ending:
    """What was ended.

    Attributes:
        ran: Whether there was an instance.
        leftovers: How many processes a dead one had left, which were ended.
    """

    ran: bool
    leftovers: int


def end_instance(layout: Layout) -> Ending:
    """End the instance of a home, and whatever one that died has left; returns when all of it has gone.

    Raises:
        WorkflowServerUnavailableError: It does not end.
    """
    ran = is_locked(layout.lock)
    if ran:
        instance: Instance | None = None

        def is_over() -> bool:
            nonlocal instance
            if instance is None and (instance := running_instance(layout)):  # one that starts may not say yet who it is
                with suppress(ProcessLookupError):
                    os.kill(instance.pid, signal.SIGTERM)
            return not is_locked(layout.lock)

        if not _until(END_SECONDS, is_over):
            whom = f"kill -9 {instance.pid}" if instance else "`makerflow status`"
            raise WorkflowServerUnavailableError(
                str(layout.directory), f"the instance does not end within {END_SECONDS:.0f} s; by force: {whom}"
            )
        if instance is not None:
            _until(LEAVE_SECONDS, partial(_has_left, instance))
    return Ending(ran, end_descendants(layout))


def _has_left(instance: Instance) -> bool:
    return not psutil.pid_exists(instance.pid)


def trainings_under_way() -> "list[TrainingSummary]":
    """What goes on by itself, and is followed again by the next `up`."""
    query = Query(status=tuple(UNDER_WAY), limit=MOST_TRAININGS)
    return list(open_platform().registry.trainings.page(query).items)


def _until(seconds: float, look: Callable[[], T]) -> T:
    """What `look` found at last; it is asked until it finds something or the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
