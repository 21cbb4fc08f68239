"""How the parts are: what supervisord says of each, and what each answers itself."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from deployments.up.instance import Instance
from deployments.up.layout import Layout
from deployments.up.parts import ACCESS, FRONT_DOOR, PREFECT, RUNNER, SUPERVISOR, SWEEPER
from deployments.up.supervision import PartState, Supervisor
from deployments.up.unix_http import accepts, answers

GUARD = "guard"
HEALTHY = "healthy"
LOG_LINES = 12
LOG_BYTES = 8192


@dataclass(frozen=True)
class PartReport:
    """One part now.

    Attributes:
        name: The part.
        pid: None while it does not run.
        address: Where it answers; empty for one that answers nobody.
        health: `healthy`, or what is wrong.
        memory_mib: What its process holds in memory.
        restarts: How often it was started again since `up`.
        log: The file with its output; empty where there is none.
        log_lines: The last ones of it while it is not healthy.
    """

    name: str
    pid: int | None
    address: str
    health: str
    memory_mib: float
    restarts: int
    log: str
    log_lines: list[str]

    @property
    def is_healthy(self) -> bool:
        """Whether it does what it is for."""
        return self.health == HEALTHY

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def look_at_parts(layout: Layout, instance: Instance) -> list[PartReport]:
    """Every part of a running instance, from the guard downwards."""
    try:
        with Supervisor(layout) as supervisor:
            states = supervisor.states()
        supervisor_health = HEALTHY
    except ConnectionError as error:
        states, supervisor_health = {}, str(error)
    return [
        _report(layout, GUARD, instance.pid, "", HEALTHY),
        _report(layout, SUPERVISOR, _pid_file(layout), _unix(layout.supervisor_socket), supervisor_health),
        *(_part(layout, instance, name, states.get(name)) for name in (PREFECT, ACCESS, FRONT_DOOR, RUNNER, SWEEPER)),
    ]


def last_lines(log: Path) -> list[str]:
    """What a part has said last; empty when it has said nothing."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return []


def _part(layout: Layout, instance: Instance, name: str, state: PartState | None) -> PartReport:
    addresses = {
        PREFECT: _unix(layout.prefect_socket),
        ACCESS: _unix(layout.access_socket),
        FRONT_DOOR: instance.url,
        RUNNER: "",
        SWEEPER: "",
    }
    health = _health(layout, name, state)
    return _report(layout, name, state.pid if state else 0, addresses[name], health)


def _health(layout: Layout, name: str, state: PartState | None) -> str:
    if state is None:
        return "unknown: supervisord does not answer"
    if state.state not in ("RUNNING", "STARTING"):
        return f"{state.state.lower()}: {state.description}"
    looks = {
        PREFECT: lambda: answers(layout.prefect_socket, "/api/health"),
        ACCESS: lambda: accepts(layout.access_socket),
        FRONT_DOOR: lambda: answers(layout.admin_socket, "/ready"),
        RUNNER: lambda: state.state == "RUNNING",
        SWEEPER: lambda: state.state == "RUNNING",
    }
    return HEALTHY if looks[name]() else "starting" if state.state == "STARTING" else "it gives no answer"


def _report(layout: Layout, name: str, pid: int, address: str, health: str) -> PartReport:
    restarts = 0
    with suppress(FileNotFoundError):
        restarts = max(0, (layout.parts / name).stat().st_size - 1)
    log = layout.log(name)
    lines = [] if health == HEALTHY else last_lines(log)
    return PartReport(
        name, pid or None, address, health, _memory_mib(pid), restarts, str(log) if log.exists() else "", lines
    )


def _memory_mib(pid: int) -> float:
    try:
        return round(psutil.Process(pid).memory_info().rss / 2**20, 1) if pid else 0.0
    except psutil.NoSuchProcess:
        return 0.0


def _pid_file(layout: Layout) -> int:
    with suppress(OSError, ValueError):
        return int((layout.directory / "supervisord.pid").read_text())
    return 0


def _unix(path: Path) -> str:
    return f"unix:{path}"
