"""Start the agent of a run as a process of its own, which outlives the one that starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from threading import Thread

import blocks
from blocks.cluster.base import Secrets
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import MARKER

_NOT_INHERITED = ("MAKERFLOW_", "PREFECT_", "PYTHON")
"""The agent is told what it needs by files; what else configures this process is not its affair."""


def start_agent(layout: RunLayout, lock: int, secrets: Secrets) -> None:
    """Start `python -m blocks.launcher RUN_DIRECTORY LOCK` in its own session.

    Args:
        layout: The run.
        lock: A descriptor that holds the agent's lock; the agent inherits it, and the lock with it.
        secrets: Go down its standard input, and nowhere else.
    """
    command = [sys.executable, "-P", "-m", "blocks.launcher", str(layout.directory), str(lock)]
    document = json.dumps({name: dict(values) for name, values in secrets.items()}).encode()
    with _pipe_holding(document) as (reading, writing, rest), layout.agent_log.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=reading,
            stdout=log,
            stderr=log,
            cwd=layout.directory,
            env=_environment(os.environ, layout.directory),
            start_new_session=True,
            pass_fds=(lock,),
        )
        reading.close()
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": process.pid}).encode(), 0)
        with suppress(BrokenPipeError):  # one that died at once leaves the run LOST
            while rest:
                rest = rest[writing.write(rest) or 0 :]
    # Reaped as soon as it ends, so that a flow that goes on for days collects no zombies.
    Thread(target=process.wait, name=f"reaper of {layout.run_id}", daemon=True).start()


@contextmanager
def _pipe_holding(document: bytes) -> Iterator[tuple[FileIO, FileIO, bytes]]:
    """A pipe with the document in it, and what did not fit, so that no agent finds it empty if we die meanwhile."""
    reading, writing = os.pipe()
    with FileIO(reading) as reader, FileIO(writing, "w") as writer:
        os.set_blocking(writing, False)
        kept = os.write(writing, document)
        os.set_blocking(writing, True)
        yield reader, writer, document[kept:]


def agent_pid(layout: RunLayout) -> int | None:
    """The process id that the lock's file tells; whether it lives is for the lock to tell."""
    with suppress(OSError, ValueError, KeyError):
        return int(json.loads(layout.lock.read_bytes())["pid"])
    return None


def _environment(own: Mapping[str, str], run_directory: Path) -> dict[str, str]:
    """The agent's: this process's without our configuration, and with what makes our modules importable."""
    kept = {name: value for name, value in own.items() if not name.startswith(_NOT_INHERITED)}
    return kept | {MARKER: str(run_directory), "PYTHONPATH": str(Path(blocks.__path__[0]).parent)}
