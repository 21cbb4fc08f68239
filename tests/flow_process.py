"""Flows in processes of their own, which tests kill.

Each is forked from one that has imported the flows, as the platform's runner does: importing them takes longer than
most of what is tested.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["flows.training", "flows.tuning", "blocks.registry.writing", "boto3"])

_followers: list[tuple[str, psutil.Process]] = []
"""Homes and forked followers, whose command line does not tell them."""


@contextmanager
def another_process(flow: Callable[..., Any], *arguments: Any) -> Iterator[ForkServerProcess]:
    """A process that calls this with the directory and the environment of this one, and whose end is waited for."""
    process = _FORKED.Process(target=_call, args=(Path.cwd(), dict(os.environ), flow, *arguments))
    process.start()
    try:
        yield process
    finally:
        process.join()


def start_forked_follower(*arguments: str) -> None:
    """What `start_follower` starts, but forked."""
    process = _FORKED.Process(target=_call, args=(Path.cwd(), dict(os.environ), _follow, *arguments), daemon=True)
    process.start()
    with suppress(psutil.NoSuchProcess):  # it is over already
        _followers.append((os.environ["MAKERFLOW_HOME"], psutil.Process(process.pid)))


def followers_of(home: Path) -> list[psutil.Process]:
    """The detached processes that follow trainings of this home."""
    found = [process for of, process in _followers if of == str(home) and _lives(process)]
    for process in psutil.process_iter(["cmdline"]):
        try:
            if "flows" in (process.info["cmdline"] or ()) and process.environ().get("MAKERFLOW_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _call(directory: Path, environment: dict[str, str], flow: Callable[..., Any], *arguments: Any) -> None:
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    flow(*arguments)


def _follow(*arguments: str) -> None:
    os.setsid()
    sys.argv[1:] = arguments
    runpy.run_module("flows", run_name="__main__")
