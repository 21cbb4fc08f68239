"""supervisord: its configuration, and what it says of the parts."""

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error, Fault, ServerProxy, Transport

from deployments.up.layout import Layout
from deployments.up.log_rotation import LOG_FILES, LOG_MEGABYTES
from deployments.up.parts import SUPERVISOR, Part
from deployments.up.unix_http import UnixConnection

TRIES = 30
"""The pause before the n-th try in a row is n seconds; after so many supervisord gives up and the guard begins anew."""

ANSWER_SECONDS = 30.0
"""Longer than a part may take to end."""

SHUTDOWN_STATE = 6
ALREADY_STARTED = 60
NOT_RUNNING = 70
CANNOT_START = {"NO_FILE": 20, "NOT_EXECUTABLE": 21, "FAILED": 30, "SPAWN_ERROR": 50}
"""supervisor's numbers of faults: its own module of them imports its whole server."""

_TIED = Path(__file__).with_name("tied.py")


def supervisor_config(layout: Layout, parts: Sequence[Part]) -> str:
    """The text of supervisord's configuration."""
    head = {
        "supervisord": {
            "nodaemon": "true",
            "silent": "true",
            "directory": str(layout.home),
            "logfile": str(layout.log(SUPERVISOR)),
            "logfile_maxbytes": f"{LOG_MEGABYTES}MB",
            "logfile_backups": str(LOG_FILES),
            "pidfile": str(layout.directory / "supervisord.pid"),
            "childlogdir": str(layout.logs),
            "nocleanup": "true",
        },
        "unix_http_server": {"file": str(layout.supervisor_socket), "chmod": "0600"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    programs = {f"program:{part.name}": _program(layout, part) for part in parts}
    return "\n".join(_section(name, values) for name, values in {**head, **programs}.items())


def supervisor_command(layout: Layout) -> list[str]:
    """What starts supervisord, tied to whoever starts it."""
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(layout.supervisor_config)]
    return tied(layout, SUPERVISOR, command)


def tied(layout: Layout, name: str, command: Sequence[str]) -> list[str]:
    """The command of a part that ends with the process that starts it."""
    return [sys.executable, "-I", "-S", str(_TIED), str(layout.parts / name), *command]


@dataclass(frozen=True)
class PartState:
    """What supervisord says of a part.

    Attributes:
        name: The part.
        state: supervisor's word: STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL, STOPPED, UNKNOWN.
        pid: 0 while it does not run.
        description: For people: since when it runs, or why it does not.
    """

    name: str
    state: str
    pid: int
    description: str

    @property
    def is_given_up(self) -> bool:
        """Whether supervisord will not start it again by itself."""
        return self.state == "FATAL"


class Supervisor:
    """A running supervisord, asked over its socket.

    Raises:
        ConnectionError: From any method: it does not answer, or only that it is shutting down.
    """

    def __init__(self, layout: Layout) -> None:
        self._transport = _UnixTransport(layout.supervisor_socket)
        self._proxy = ServerProxy("http://localhost", transport=self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._transport.close()

    def states(self) -> dict[str, PartState]:
        """Every part by its name."""
        found = cast(list[dict[str, Any]], self._call("supervisor.getAllProcessInfo"))
        return {
            entry["name"]: PartState(entry["name"], entry["statename"], entry["pid"], entry["description"])
            for entry in found
        }

    def start(self, part: str) -> None:
        """Begin again to start a part, without waiting; one that runs is no error, and its state tells if it cannot."""
        self._call("supervisor.startProcess", part, False, passing=(ALREADY_STARTED, *CANNOT_START.values()))

    def stop(self, part: str) -> None:
        """End a part and wait until it has ended; one that has, or that supervisord ends just now, is no error."""
        self._call("supervisor.stopProcess", part, True, passing=(NOT_RUNNING, SHUTDOWN_STATE))

    def _call(self, method: str, *arguments: object, passing: Collection[int] = ()) -> object:
        """What it answers; None for one of the faults that are let pass."""
        try:
            return getattr(self._proxy, method)(*arguments)
        except Fault as fault:
            if fault.faultCode in passing:
                return None
            raise ConnectionError(f"supervisord does not answer ({fault.faultString})") from fault
        except (OSError, Error, HTTPException, ExpatError) as error:  # the last: it died while it answered
            raise ConnectionError(f"supervisord does not answer ({error})") from error


class _UnixTransport(Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._unix = UnixConnection(path, ANSWER_SECONDS)

    def make_connection(self, _host: object) -> UnixConnection:
        return self._unix

    def close(self) -> None:
        self._unix.close()


def _program(layout: Layout, part: Part) -> dict[str, str]:
    return {
        "command": shlex.join(tied(layout, part.name, part.command)),
        "priority": str(part.rank),
        "startsecs": str(part.settled_seconds),
        "startretries": str(TRIES),
        "autorestart": "true",
        "stopwaitsecs": str(part.stop_seconds),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": str(layout.log(part.name)).replace("%", "%%"),  # supervisord expands this one twice
        "stdout_logfile_maxbytes": f"{LOG_MEGABYTES}MB",
        "stdout_logfile_backups": str(LOG_FILES),
    }


def _section(name: str, values: Mapping[str, str]) -> str:
    lines = [f"{key} = {value.replace('%', '%%')}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])
