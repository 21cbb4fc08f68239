"""Start the agent of a run as a process of its own, which outlives the one that starts it."""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from threading import Thread

import blocks
from blocks.cluster.agent_host import Hosting
from blocks.cluster.base import Secrets
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import AGENT, MARKER

_INHERITED = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "LD_LIBRARY_PATH", "CUDA_HOME", "PYTHONDONTWRITEBYTECODE",
))  # fmt: skip
"""Besides `LC_*`, what the agent starts with. An entry point, which has the same user, can read all of it in /proc."""

_HANDED_DOWN = ("AWS_", "PIP_", "UV_")
_HANDED_DOWN_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC", "SSH_AUTH_SOCK")
"""What may hold a key or a password, as the URL of an index or a proxy does, goes the way of the secrets."""

_hosting = Hosting()


def _begin_anew() -> None:
    global _hosting
    _hosting.disown()
    _hosting = Hosting()


os.register_at_fork(after_in_child=_begin_anew)


def start_agent(layout: RunLayout, lock: int, secrets: Secrets, modules: Collection[str] = ()) -> None:
    """Have `python -m blocks.launcher RUN_DIRECTORY LOCK` run in its own session, forked from the host or started.

    Args:
        layout: The run.
        lock: A descriptor that holds the agent's lock; the agent inherits it, and the lock with it.
        secrets: Go down its standard input, and nowhere else.
        modules: What the agent is going to import beside what all need.
    """
    connections = {name: dict(values) for name, values in secrets.items()}
    document = json.dumps({"connections": connections, "environment": confidential(os.environ)}).encode()
    environment = _environment(os.environ)
    os.ftruncate(lock, 0)
    with layout.agent_log.open("ab") as log:
        if not _fork(layout, lock, log.fileno(), document, environment, modules):
            _start(layout, lock, log.fileno(), document, environment)


def _fork(
    layout: RunLayout, lock: int, log: int, document: bytes, environment: Mapping[str, str], modules: Collection[str]
) -> bool:
    """Have it forked by this process's host; False when there is none.

    The secrets are sent when the agent is known to be there, and make it begin. So of one whose host dies before it
    has answered nothing is ever heard, and the run's agent may be started directly.
    """
    reading, writing = os.pipe()
    with FileIO(reading) as reader, FileIO(writing, "w") as writer:
        pid = _hosting.start_agent(layout.directory, environment, (lock, reading, log), modules)
        if pid is None:
            return False
        reader.close()
        _note(lock, pid)
        _write(writer, document)
    return True


def _start(layout: RunLayout, lock: int, log: int, document: bytes, environment: Mapping[str, str]) -> None:
    with _pipe_holding(document) as (reading, writing, rest):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", AGENT, str(layout.directory), str(lock)],
            stdin=reading,
            stdout=log,
            stderr=log,
            cwd=layout.directory,
            env={**environment, MARKER: str(layout.directory)},
            start_new_session=True,
            pass_fds=(lock,),
        )
        reading.close()
        _note(lock, process.pid)
        _write(writing, rest)
    # Reaped as soon as it ends, so that a flow that goes on for days collects no zombies.
    Thread(target=process.wait, name=f"reaper of {layout.run_id}", daemon=True).start()


def _note(lock: int, pid: int) -> None:
    os.pwrite(lock, json.dumps({"pid": pid}).encode(), 0)


def _write(pipe: FileIO, document: bytes) -> None:
    with suppress(BrokenPipeError):  # an agent that died at once leaves the run LOST
        while document:
            document = document[pipe.write(document) or 0 :]


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


def end_host() -> None:
    """End the process that forks agents for this one, if there is one; agents go on, and another is started if need be.

    It ends by itself when this process ends.
    """
    _hosting.close()


atexit.register(end_host)


def host_pid() -> int | None:
    """The id of the process that forks agents for this one, once it does."""
    return _hosting.pid


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The agent's but for its marker: what it is like on this machine, and what makes our modules importable."""
    kept = {name: value for name, value in own.items() if name in _INHERITED or name.startswith("LC_")}
    return kept | {"PYTHONPATH": str(Path(blocks.__path__[0]).parent)}


def confidential(own: Mapping[str, str]) -> dict[str, str]:
    """What the agent needs of a process's environment and nobody may read in the agent's: keys, accounts, proxies."""
    return {
        name: value
        for name, value in own.items()
        if name.startswith(_HANDED_DOWN) or name.upper() in _HANDED_DOWN_NAMES
    }
