"""What is asked for in the workflow UI: run, cancelled, retried, deleted and killed, by a real server and runner."""

import os
import signal
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry, Cancelling

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrainingStatus
from deployments.flow_processes import process_name
from tests.integration.deployments.conftest import Workflows, wait_until
from tests.processes import processes_of

pytestmark = pytest.mark.timeout(300)

SLEEPS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
FAILS_AT_FIRST = """
import os, pathlib
tried = pathlib.Path("{tried}")
if not tried.exists():
    tried.touch()
    raise SystemExit("the first time it fails")
"""


def waits(go: Path) -> str:
    """An entry point that goes on when there is such a file, and reports its process each time it starts."""
    return (
        "import os, pathlib, time\n"
        "print(f'step=1 process={os.getpid()}', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n"
        "    time.sleep(0.05)\n"
    )


def process_of(workflows: Workflows, run: UUID) -> psutil.Process:
    children = psutil.Process(workflows.runner.process.pid).children(recursive=True)
    [found] = [process for process in children if process.name() == process_name(str(run))]
    return found


@pytest.mark.req("COM-04", "TRN-13")
def test_cancelling_in_the_ui_stops_the_training_and_leaves_no_worker(workflows: Workflows) -> None:
    run = workflows.train("cancelled", SLEEPS)
    workflows.await_status("cancelled", TrainingStatus.RUNNING)
    workflows.client.set_flow_run_state(run, Cancelling())
    workflows.await_status("cancelled", TrainingStatus.STOPPED)
    workflows.await_state(run, StateType.CANCELLED)
    assert processes_of(workflows.home) == []


@pytest.mark.req("COM-04")
def test_a_flow_run_that_is_killed_is_crashed_and_its_retry_goes_on_with_the_same_workers(
    workflows: Workflows, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    run = workflows.train("killed", waits(go))
    workflows.await_status("killed", TrainingStatus.RUNNING)
    process_of(workflows, run).kill()
    workflows.await_state(run, StateType.CRASHED)
    workflows.client.set_flow_run_state(run, AwaitingRetry())
    go.touch()
    workflows.await_state(run, StateType.COMPLETED)
    workflows.await_status("killed", TrainingStatus.COMPLETE)
