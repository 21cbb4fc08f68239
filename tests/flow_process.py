"""Flows in processes of their own, which tests kill.

Each is forked from one that has imported the flows, as the platform's runner does: importing them takes longer than
most of what is tested.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from typing import Any

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["flows.training", "flows.tuning"])


@contextmanager
def another_process(flow: Callable[..., Any], *arguments: Any) -> Iterator[ForkServerProcess]:
    """A process that calls this with the environment of this one, and whose end is waited for."""
    process = _FORKED.Process(target=_call, args=(dict(os.environ), flow, *arguments))
    process.start()
    try:
        yield process
    finally:
        process.join()


def _call(environment: dict[str, str], flow: Callable[..., Any], *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    flow(*arguments)
