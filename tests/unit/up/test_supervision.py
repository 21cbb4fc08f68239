import os
import shlex
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError
from deployments.up import tied
from deployments.up.layout import Layout, make_layout
from deployments.up.parts import SWEEPER, make_parts, parts_environment
from deployments.up.request import make_request
from deployments.up.supervision import supervisor_config


def read_as_supervisor_does(text: str) -> RawConfigParser:
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


@pytest.mark.parametrize(
    "home", ["/home/a", "/home/with blank", "/home/100%", "/home/it's", '/home/a"b', "/home/a;b#c"]
)
def test_supervisord_reads_each_command_as_it_was_meant_whatever_the_home_is_called(home: str) -> None:
    layout = Layout(Path(home))
    parts = make_parts(layout, ("envoy", f"--config-path={home}"))
    parser = read_as_supervisor_does(supervisor_config(layout, parts))
    for part in parts:
        command = parser[f"program:{part.name}"]["command"].replace("%%", "%")
        assert shlex.split(command)[-len(part.command) :] == list(part.command)
        assert parser[f"program:{part.name}"]["autorestart"] == "true"


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
