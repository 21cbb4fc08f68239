"""Parts that cannot start, or say too much, under a real supervisord."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from blocks.connections.settings import Settings
from blocks.domain.errors import WorkflowServerUnavailableError
from deployments.up import supervision
from deployments.up.guard import Guard, start_given_up
from deployments.up.health import last_lines, look_at_parts
from deployments.up.instance import Instance
from deployments.up.layout import Layout, make_layout
from deployments.up.leftovers import end_descendants
from deployments.up.parts import RUNNER, Part
from deployments.up.request import make_request
from deployments.up.supervision import Supervisor, supervisor_command, supervisor_config
from deployments.up.tied import PARENT
from tests.servers import free_port
from tests.waiting import wait_for

NEEDS_A_FILE = "import sys, time; open(sys.argv[1]); time.sleep(600)"
SAYS_MUCH = "import sys, time; print('x' * 2**23, flush=True); open(sys.argv[1], 'w'); time.sleep(600)"
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


@pytest.mark.req("COM-04", "COM-10")
def test_a_part_that_supervisord_has_given_up_is_started_until_it_can_start(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "TRIES", 1)
    layout, file = make_layout(Settings(home=home)), tmp_path / "file"
    part = Part("part", (sys.executable, "-c", NEEDS_A_FILE, str(file)), rank=0, settled_seconds=1)

    def look(state: str) -> bool | None:
        with suppress(ConnectionError), Supervisor(layout) as supervisor:
            return (supervisor.states()["part"].state == state) or None
        return None

    with supervised(layout, part):
        for _ in range(2):
            wait_for(lambda: look("FATAL"), "it to be given up")
            with Supervisor(layout) as supervisor:
                assert start_given_up(supervisor) == []
        assert "FileNotFoundError" in last_lines(layout.log("part"))[-1]
        file.touch()
        wait_for(lambda: look("FATAL") or look("RUNNING"), "it to be given up once more, or to run")
        with Supervisor(layout) as supervisor:
            start_given_up(supervisor)
        wait_for(lambda: look("RUNNING"), "it to run")


def test_the_log_of_a_part_is_bounded_however_much_it_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LOG_MEGABYTES", 1)
    layout, said = make_layout(Settings(home=home)), tmp_path / "said"
    with supervised(layout, Part("part", (sys.executable, "-c", SAYS_MUCH, str(said)), rank=0)):
        wait_for(lambda: said.exists() or None, "all of it to be said")
        assert sum(log.stat().st_size for log in layout.logs.glob("part.log*")) < 2**22 + 2**20


@pytest.mark.req("COM-04")
def test_a_supervisord_that_is_shutting_down_counts_as_one_that_does_not_answer(home: Path) -> None:
    layout = make_layout(Settings(home=home))
    url = "http://127.0.0.1:1"
    instance = Instance(
        pid=os.getpid(), host="127.0.0.1", port=1, url=url, api=f"{url}/api", asks_for_access=False,
        started=datetime.now(UTC),
    )  # fmt: skip

    def refused() -> str | None:
        with Supervisor(layout) as supervisor:
            try:
                supervisor.states()
            except ConnectionError as error:
                return str(error)
        return None

    with supervised(layout, stubborn_part("part")) as process:
        wait_for(lambda: is_ready(layout, "part"), "the part to ignore SIGTERM")
        process.terminate()
        assert "SHUTDOWN_STATE" in wait_for(refused, "it to shut down")
        states = {report.name: report.health for report in look_at_parts(layout, instance)}
        assert "SHUTDOWN_STATE" in states["supervisor"]
        assert states[RUNNER] == "unknown: supervisord does not answer"
        with Supervisor(layout) as supervisor:
            supervisor.stop("part")
            with pytest.raises(ConnectionError):
                start_given_up(supervisor)


@pytest.mark.req("COM-04", "COM-10")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_supervisord_that_a_signal_ends_is_started_again_with_its_parts(
    number: signal.Signals, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.up.guard.make_parts", lambda *_: (stubborn_part(RUNNER),))
    settings = Settings(home=home)
    layout = make_layout(settings)
    guard = Guard(settings, layout, make_request(settings, "127.0.0.1", free_port()))

    def pid(before: int = 0) -> int | None:
        guard.look()
        with suppress(ConnectionError), Supervisor(layout) as supervisor:
            state = supervisor.states()[RUNNER]
            return state.pid if state.state == "RUNNING" and state.pid != before else None
        return None

    with guard.keeping_supervisor():
        first = wait_for(pid, "the part to run")
        wait_for(lambda: is_ready(layout, RUNNER), "the part to ignore SIGTERM")
        os.kill(int((layout.directory / "supervisord.pid").read_text()), number)
        second = wait_for(lambda: pid(before=first), "another part to run")
        assert not is_alive(first)
    assert not is_alive(second)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stubborn_part(name: str) -> Part:
    """A part that has to be killed, which takes its supervisord two seconds."""
    return Part(name, (sys.executable, "-c", IGNORES_SIGTERM), rank=0, settled_seconds=1, stop_seconds=2)


def is_ready(layout: Layout, part: str) -> bool | None:
    return "ready" in last_lines(layout.log(part)) or None


@contextmanager
def supervised(layout: Layout, part: Part) -> Iterator["subprocess.Popen[bytes]"]:
    layout.supervisor_config.write_text(supervisor_config(layout, [part]))
    environment = {**os.environ, PARENT: str(os.getpid())}
    process = subprocess.Popen(supervisor_command(layout), env=environment, cwd=layout.home, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        end_descendants(layout)


def test_what_cannot_be_ended_is_said_instead_of_waited_for_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout(Settings(home=home))
    environment = {**os.environ, PARENT: str(os.getpid())}
    command = supervision.tied(layout, "part", [sys.executable, "-c", IGNORES_SIGTERM])
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with monkeypatch.context() as patch:
            patch.setattr(psutil.Process, "kill", lambda _: None)
            with pytest.raises(WorkflowServerUnavailableError, match=str(process.pid)):
                end_descendants(layout, grace_seconds=0.05)
        assert end_descendants(layout, grace_seconds=0.05) == 1
