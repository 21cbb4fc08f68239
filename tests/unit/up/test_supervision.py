import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from supervisor.options import ServerOptions
from supervisor.xmlrpc import Faults

from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError
from deployments.up import supervision, tied
from deployments.up.layout import Layout, make_layout
from deployments.up.parts import SWEEPER, make_parts, parts_environment
from deployments.up.request import make_request
from deployments.up.supervision import Supervisor, supervisor_config


@pytest.mark.parametrize("name", ["a", "with blank", "100%", "50%d of it's", 'a"b', "a;b#c", "höme"])
def test_supervisord_itself_takes_every_path_as_it_was_meant(name: str, home: Path) -> None:
    layout = make_layout(Settings(home=home / name))
    layout.logs.mkdir(parents=True, exist_ok=True)
    parts = make_parts(layout, ("envoy", f"--config-path={name}"))
    layout.supervisor_config.parent.mkdir(parents=True, exist_ok=True)
    layout.supervisor_config.write_text(supervisor_config(layout, parts))
    options = ServerOptions()
    options.realize(["-c", str(layout.supervisor_config)])
    programs = {program.name: program for group in options.process_group_configs for program in group.process_configs}
    assert options.directory == str(layout.home)
    for part in parts:
        assert shlex.split(programs[part.name].command)[-len(part.command) :] == list(part.command)
        assert programs[part.name].stdout_logfile == str(layout.log(part.name))


def test_faults_have_supervisor_s_own_numbers() -> None:
    for name in ("SHUTDOWN_STATE", "ALREADY_STARTED", "NOT_RUNNING"):
        assert getattr(supervision, name) == getattr(Faults, name)
    assert {name: getattr(Faults, name) for name in supervision.CANNOT_START} == supervision.CANNOT_START


def test_an_answer_that_breaks_off_counts_as_none(home: Path) -> None:
    layout = make_layout(Settings(home=home))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(layout.supervisor_socket))
        server.listen()

        def break_off() -> None:
            connection, _ = server.accept()
            server.close()  # so that it is not waited for when it is asked again
            with connection:
                connection.recv(2**16)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<?xml version='1.0'?><methodResponse><par")

        answer = threading.Thread(target=break_off)
        answer.start()
        with Supervisor(layout) as supervisor, pytest.raises(ConnectionError):
            supervisor.states()
        answer.join()


def test_the_sweeper_ends_last() -> None:
    parts = make_parts(Layout(Path("/home/a")), ("envoy",))
    assert min(parts, key=lambda part: part.rank).name == SWEEPER


def test_a_home_that_supervisord_would_take_for_a_comment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="blank before"):
        make_layout(Settings(home=tmp_path / "a #b"))


def test_parts_use_the_platform_s_own_api_and_report_to_nobody(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, prefect_api_url="http://elsewhere:4200/api")
    environment = parts_environment(settings, "http://127.0.0.1:4200/api", "makerflow:token")
    assert environment["MAKERFLOW_PREFECT_API_URL"] == environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize(("host", "url"), [("localhost", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")])
def test_loopback_asks_for_no_access_string(host: str, url: str, tmp_path: Path) -> None:
    assert make_request(Settings(home=tmp_path), host, 1).url == url


def test_a_tied_program_does_not_start_when_whoever_started_it_has_died(tmp_path: Path) -> None:
    starts = tmp_path / "part"
    command = [sys.executable, "-I", "-S", tied.__file__, str(starts), sys.executable, "-c", "print('started')"]

    def start(parent: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, tied.PARENT: str(parent)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert start(os.getpid()).stdout == "started\n"
    assert starts.read_text() == "."
    assert start(1).returncode != 0
    assert starts.read_text() == "."


def test_the_longest_home_that_is_taken_has_room_for_the_socket_that_supervisord_binds_first() -> None:
    with TemporaryDirectory(dir="/tmp") as directory, socket.socket(socket.AF_UNIX) as first:
        longest = Path(directory, "d" * (80 - len(f"{directory}/")))
        layout = make_layout(Settings(home=longest))
        first.bind(f"{layout.supervisor_socket}.{2**22}")
        with pytest.raises(InvalidInputError, match="1 bytes too long"):
            make_layout(Settings(home=Path(f"{longest}d")))
