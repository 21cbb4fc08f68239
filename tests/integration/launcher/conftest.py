"""What the launcher's tests stand on: interpreters, and proof that no process is left."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster.base import Secrets
from blocks.cluster.layout import RunLayout
from blocks.cluster.local import LocalCluster
from blocks.cluster.processes import end_processes
from blocks.cluster.run_directory import create_run
from tests.integration.launcher.runs import LaunchedRun, make_plan
from tests.integration.launcher.supervised import Supervised, supervise
from tests.processes import processes_of


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory whose processes, if the test leaves any, are ended and reported."""
    place = tmp_path / "home"
    yield place
    left = processes_of(place)
    for run in (place, *place.glob("runs/*")):
        end_processes(run, 0)
    assert not left, f"processes {left} were left behind"


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Supervised]]:
    """Start a program under a supervisor."""
    started: list[Supervised] = []

    def start_program(program: str, *, python: str = sys.executable, **facts: object) -> Supervised:
        started.append(supervise(directory, python, program, **facts))
        return started[-1]

    yield start_program
    for each in started:
        each.process.kill()
        each.process.wait()
        if each.process.stdin:
            each.process.stdin.close()


@pytest.fixture
def launch(directory: Path) -> Iterator[Callable[..., LaunchedRun]]:
    """Launch a run on a machine of its own."""
    cluster = LocalCluster(directory, vcpus=8, memory_mib=1 << 20)
    launched: list[LaunchedRun] = []

    def launch_run(program: str, *, started: bool = True, secrets: Secrets | None = None, **facts: Any) -> LaunchedRun:
        plan = make_plan(directory.parent, program, **facts)
        if started:
            cluster.launch(plan, secrets)
        else:
            os.close(create_run(RunLayout(directory, plan.run_id), plan) or -1)
        launched.append(LaunchedRun(directory, cluster, plan))
        return launched[-1]

    yield launch_run
    for run in launched:
        cluster.stop(run.handle, 0)
