"""The guard: keeps supervisord, and ends everything in order when it is asked to."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from blocks.connections.settings import ENVIRONMENT, Settings, read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from blocks.gateway.files import front_door_command, write_front_door
from blocks.gateway.front_door import own_account, write_private
from blocks.registry.database import open_registry
from deployments.up.database import prepare_prefect_database
from deployments.up.health import PartReport, last_lines, look_at_parts
from deployments.up.instance import Instance, being_the_instance
from deployments.up.layout import Layout, make_layout
from deployments.up.leftovers import end_descendants
from deployments.up.log_rotation import bound_shared_logs
from deployments.up.parts import NOT_FOR_PARTS, RUNNER, SUPERVISOR, make_parts, parts_environment
from deployments.up.request import Request, check_port, make_front_door, make_request
from deployments.up.supervision import Supervisor, supervisor_command, supervisor_config
from deployments.up.tied import PARENT

START_SECONDS = 300.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 2.0
WAIT_SECONDS = 0.2
STARTS = 3
"""A part that ends so often before everything is ready will not come up at all."""
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Arrival:
    """An instance that serves.

    Attributes:
        instance: What it says of itself.
        parts: How each part is.
        seconds: From the command to now.
        earlier_runs_added: How many runs that no server saw are now in the UI.
        notes: What people may want to know of the start.
    """

    instance: Instance
    parts: list[PartReport]
    seconds: float
    earlier_runs_added: int
    notes: tuple[str, ...]


def up(host: str, port: int, *, ready: Callable[[Arrival], None], note: Callable[[str], None]) -> None:
    """Run the platform's parts until SIGINT or SIGTERM; commands on this home use them meanwhile.

    Args:
        host: Where the front door listens.
        port: The same.
        ready: Called once everything serves.
        note: Called with what people may want to know meanwhile.

    Raises:
        InvalidInputError: It runs on this home already, or cannot run there or on what is there.
        RegistryUnusableError: The registry is damaged, or of a newer version.
        WorkflowServerUnavailableError: A part does not start.
    """
    began = time.monotonic()
    settings = read_settings()
    request = make_request(settings, host, port)
    layout = make_layout(settings)
    with being_the_instance(layout) as announcement, _asked_to_end() as ended:
        notes = []
        for text in _prepare(settings, layout, request):
            note(text)
            notes.append(text)
        guard = Guard(settings, layout, request)
        with guard.keeping_supervisor():
            added = guard.wait_until_ready(ended)
            if added is None:
                return
            announcement.make(request.api)
            parts = look_at_parts(layout, guard.instance)
            ready(Arrival(guard.instance, parts, time.monotonic() - began, added, tuple(notes)))
            while not ended.wait(LOOK_SECONDS):
                guard.look()


def _prepare(settings: Settings, layout: Layout, request: Request) -> Iterator[str]:
    """Make sure that everything can start; what people may want to know of it."""
    if left := end_descendants(layout):
        yield f"Ended {left} processes that an instance before this one had left."
    check_port(request)
    if settings.prefect_api_url and settings.prefect_api_url.rstrip("/") != request.api:
        yield f"Commands go on using {settings.prefect_api_url}, for MAKERFLOW_PREFECT_API_URL says so."
    open_registry(settings.database_url).close()  # one that cannot be read is refused now, not by a part that starts
    if prepare_prefect_database(settings):
        yield "The workflow database is of an earlier version and is being upgraded."


class Guard:
    """Keeps one supervisord alive."""

    def __init__(self, settings: Settings, layout: Layout, request: Request) -> None:
        self._layout = layout
        front_door = make_front_door(settings, layout, request)
        write_front_door(front_door)
        self._parts = make_parts(layout, front_door_command(layout.directory))
        write_private(layout.supervisor_config, supervisor_config(layout, self._parts))
        self._environment = _environment(parts_environment(settings, request.api, own_account(front_door.token)))
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []
        self._restarts = 0
        self._next_start = 0.0
        self.instance = Instance(
            pid=os.getpid(),
            host=request.host,
            port=request.port,
            url=request.url,
            api=request.api,
            asks_for_access=bool(request.access_string.get_secret_value()),
            started=datetime.now(UTC),
        )

    @contextmanager
    def keeping_supervisor(self) -> Iterator[None]:
        """A supervisord and all parts, for as long as the block lasts."""
        for file in (*self._layout.parts.iterdir(), self._layout.arrival):
            file.unlink(missing_ok=True)
        self.instance.save(self._layout)
        self._start()
        try:
            yield
        finally:
            self._end()

    def wait_until_ready(self, ended: threading.Event) -> int | None:
        """Wait until everything serves; how many earlier runs were added, or None when it is to end before.

        Raises:
            WorkflowServerUnavailableError: A part does not start.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ended.wait(WAIT_SECONDS):
            self.look()
            self._check_starts(time.monotonic() > deadline)
            if self._layout.arrival.exists() and self._is_settled():
                return int(json.loads(self._layout.arrival.read_text())["earlier_runs_added"])
        return None

    def look(self) -> None:
        """Start again what has died, supervisord or what it has given up, and remember whom it has started."""
        bound_shared_logs(self._layout)
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._restart()
            return
        with suppress(ConnectionError), Supervisor(self._layout) as supervisor:
            self._pids = start_given_up(supervisor)

    def _start(self) -> None:
        with self._layout.log(SUPERVISOR).open("ab") as log:
            self._supervisor = subprocess.Popen(
                supervisor_command(self._layout),
                cwd=self._layout.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _restart(self) -> None:
        """With a pause that grows, and not before the parts of the one that died have gone."""
        if time.monotonic() < self._next_start:
            return
        _end(self._pids)
        self._pids = []
        self._restarts += 1
        self._next_start = time.monotonic() + min(2.0 * self._restarts, LONGEST_PAUSE_SECONDS)
        self._start()

    def _end(self) -> None:
        """The runner and its flow runs first: they say how they ended to a server that still answers."""
        with suppress(ConnectionError), Supervisor(self._layout) as supervisor:
            supervisor.stop(RUNNER)
            end_descendants(self._layout, RUNNER)
        if self._supervisor is not None:
            self._supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(STOP_SECONDS)
            self._supervisor.kill()
            self._supervisor.wait()
        end_descendants(self._layout)
        shutil.rmtree(self._layout.temporary, ignore_errors=True)

    def _is_settled(self) -> bool:
        return all(report.is_healthy for report in look_at_parts(self._layout, self.instance))

    def _check_starts(self, is_late: bool) -> None:
        for part in self._parts:
            file = self._layout.parts / part.name
            if file.exists() and file.stat().st_size >= STARTS:
                raise self._failure(part.name, f"it ended {STARTS - 1} times while it started")
        if self._restarts >= STARTS:
            raise self._failure(SUPERVISOR, f"it ended {self._restarts} times while it started")
        if is_late:
            ill = next((one for one in look_at_parts(self._layout, self.instance) if not one.is_healthy), None)
            name, why = (ill.name, ill.health) if ill else (RUNNER, "it has not registered everything")
            raise self._failure(name, f"after {START_SECONDS:.0f} s: {why}")

    def _failure(self, part: str, why: str) -> WorkflowServerUnavailableError:
        if lines := last_lines(self._layout.log(part)):
            why += f"\nThe last lines of {self._layout.log(part)}:\n  " + "\n  ".join(lines) + "\n"
        return WorkflowServerUnavailableError(f"{self.instance.url} (the part {part})", why)


def start_given_up(supervisor: Supervisor) -> list[int]:
    """Begin again with whatever supervisord has given up; the pids of what runs."""
    states = supervisor.states().values()
    for state in states:
        if state.is_given_up:
            supervisor.start(state.name)
    return [state.pid for state in states if state.pid]


def _environment(parts: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in ENVIRONMENT.items() if name not in NOT_FOR_PARTS}
    return {**kept, **parts, PARENT: str(os.getpid())}


def _end(pids: list[int]) -> None:
    """Wait for processes that have been told to end; who does not is killed."""
    processes = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(processes, timeout=5)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, which do nothing else meanwhile."""
    ended = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in numbers}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
