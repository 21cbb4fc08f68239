"""A process for each flow run, forked from one that has imported Prefect and every flow already.

Importing them takes two seconds of a processor and 90 MB, which Prefect's own ways of starting a flow run spend each
time. The process that is forked has no threads and no connections. A flow run's process is in a session of its own and
writes to a file, so that it outlives whoever started it.
"""

import multiprocessing
import os
import runpy
import shutil
import tempfile
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.abc import TaskStatus
from prefect import engine
from prefect.client.schemas.objects import FlowRun
from prefect.runner._control_channel import ControlChannel
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from blocks.connections.settings import ENVIRONMENT
from deployments.up.layout import SOCKET_BYTES

PRELOADED = ["deployments.catalogue", "deployments.flow_processes", "prefect.flow_engine"]

LISTENER_BYTES = len("/pymp-12345678/listener-12345678")
"""What `multiprocessing` adds to the temporary directory for the socket of the fork server."""

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(PRELOADED)


def process_name(flow_run_id: str) -> str:
    """By what `ps` and `top` tell the processes of flow runs apart."""
    return f"flow {flow_run_id[:8]}"


def use_temporary_directory(directory: Path) -> None:
    """Make all temporary files of this process in a directory that is emptied before: who is killed removes none."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    if len(os.fsencode(directory)) + LISTENER_BYTES > SOCKET_BYTES:
        util.get_temp_dir()  # made at the usual place, and kept: the path of its socket would be too long in ours
    tempfile.tempdir = str(directory)


def prepare_forking() -> None:
    """Let the process that is forked import what it needs while there is something else to do."""
    forkserver.ensure_running()


def forget_forking() -> None:
    """Remove the directory of the socket, which who ends without ceremony leaves behind."""
    shutil.rmtree(util.get_temp_dir(), ignore_errors=True)


class ForkedStarter:
    """Starts flow runs for Prefect's runner: its `ProcessStarter`."""

    def __init__(self, log: Path, control_channel: ControlChannel) -> None:
        self._log = log
        self._control_channel = control_channel

    async def start(
        self, flow_run: FlowRun, task_status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the process of a flow run, say so, and wait for its end."""
        port, token = self._control_channel.register(flow_run.id)
        environment = {
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",  # the runner calls them
            "PREFECT__CONTROL_PORT": str(port),
            "PREFECT__CONTROL_TOKEN": token,
        }
        process = _FORKED.Process(target=_run, args=(environment, self._log))
        try:
            _start(process)
            lifetime = os.pidfd_open(cast(int, process.pid))
        except (OSError, EOFError):
            self._control_channel.unregister(flow_run.id)
            raise
        try:
            task_status.started(ProcessHandle(cast(Any, process)))  # it asks for a pid and an exit code only
            await anyio.wait_readable(lifetime)  # not the sentinel: that of a fork server which was killed ends as well
        finally:
            os.close(lifetime)
        process.join()


@retry(retry=retry_if_exception_type((OSError, EOFError)), stop=stop_after_attempt(3), reraise=True)
def _start(process: ForkServerProcess) -> None:
    """Fork it; the fork server is started again when somebody has killed it."""
    process.start()


def _run(environment: dict[str, str], log: Path) -> None:
    """What `python -m prefect.engine` does, in a process that has imported it."""
    os.setsid()
    Path("/proc/self/comm").write_text(process_name(environment["PREFECT__FLOW_RUN_ID"]))
    _write_to(log)
    ENVIRONMENT.update(environment)
    # Our registry knows who lives; Prefect's heartbeat would cost every flow a second.
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        runpy.run_path(engine.__file__, run_name="__main__")


def _write_to(log: Path) -> None:
    """What the flow run prints goes to a file, which the guard bounds: a pipe to the supervisor may break."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
