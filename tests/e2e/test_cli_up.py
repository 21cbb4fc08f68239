"""The platform as a user runs it: up, status, down; killed parts, dead instances, and what is refused."""

import json
import os
import random
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from blocks.connections.settings import read_settings
from deployments.up.database import prepare_prefect_database
from deployments.up.ending import end_instance
from deployments.up.instance import running_instance
from deployments.up.layout import Layout
from tests.e2e.command_line import CommandLine, Running
from tests.processes import parts_of, processes_of
from tests.servers import free_port
from tests.soak.test_part_kills import kill_one, running_platform
from tests.waiting import wait_for

ACCESS = "somebody:a long password"
SEED = 20261123


@pytest.mark.req("COM-04", "COM-10", "COM-11")
@pytest.mark.timeout(300)
def test_the_platform_survives_kills_of_its_parts_and_of_itself_and_loses_no_training(
    cli: CommandLine, code: Path
) -> None:
    with running_platform(cli) as up:
        assert b"<html" in fetch(f"{up['ui']}/").lower()
        assert up["api"] == f"{up['ui']}/api"
        assert_only_the_front_door_listens(cli, up)
        second = cli.run("up")
        assert second.code == 2
        assert up["api"] in second.err
        train(cli, code, "survivor")
        chance = random.Random(SEED)
        killed = kill_one(cli, chance)
        print(f"seed {SEED}: killed {killed}")
        restarts = {part["name"]: part["restarts"] for part in cli.json("status")["parts"]}
        assert sum(restarts.values()) >= 1
        assert_a_part_that_cannot_start_says_why_and_comes_back(cli)
        cli.let_go("survivor")
        cli.wait_for_status("survivor", "COMPLETE")

        train(cli, code, "orphan")
        os.kill(cli.json("status")["parts"][0]["pid"], signal.SIGKILL)
        wait_for(lambda: not parts_of(cli.home) or None, "everything to end with the guard")
        assert cli.json("status", code=1)["status"] == "DOWN"
        assert cli.json("training", "show", "orphan")["status"] == "RUNNING"
        cli.let_go("orphan")

    guarded = CommandLine(cli.directory, {"MAKERFLOW_ACCESS_STRING": ACCESS})
    with guarded.start("up", "--port", str(up["port"]), "--json") as running:
        up = first_document(running)
        cli.wait_for_status("orphan", "COMPLETE")
        assert_access_is_asked_for(up["ui"])
        train(cli, code, "goes-on")
        down = cli.json("down")
        assert [row["name"] for row in down["trainings_under_way"]] == ["goes-on"]
        assert running.end().code == 0
    assert parts_of(cli.home) == {}
    cli.let_go("goes-on")
    cli.run("training", "resume", "goes-on")
    cli.wait_for_status("goes-on", "COMPLETE")


def assert_a_part_that_cannot_start_says_why_and_comes_back(cli: CommandLine) -> None:
    config = cli.home / "up" / "envoy" / "bootstrap.yaml"
    right = config.read_text()
    config.write_text("{")

    def front_door() -> dict[str, Any]:
        parts: list[dict[str, Any]] = cli.run("status", "--json").document["parts"]
        return next(part for part in parts if part["name"] == "front-door")

    os.kill(front_door()["pid"], signal.SIGKILL)
    wait_for(lambda: any(str(config) in line for line in front_door()["log_lines"]) or None, "Envoy to say why")
    wait_for(lambda: str(config) in cli.run("status").out or None, "people to be told the same")
    config.write_text(right)
    wait_for(lambda: cli.run("status").code == 0 or None, "all parts to be well")


def train(cli: CommandLine, code: Path, name: str) -> None:
    """Start a training that waits until it is let go."""
    go = f"go={cli.go(name)}"
    command = ("train", "--name", name, "--algorithm", str(code), "--entry-point", "wait.py", "--hp", go)
    cli.json(*command, "--output", str(cli.directory / f"out-{name}"), "--detach")
    cli.wait_for_status(name, "RUNNING")


def first_document(running: Running) -> dict[str, Any]:
    """What a command prints while it goes on."""
    text = ""
    while True:
        text += running.read_until("}")
        with suppress(json.JSONDecodeError):
            found: dict[str, Any] = json.loads(text)
            return found


def fetch(url: str, account: str = "") -> bytes:
    auth = httpx.BasicAuth(*account.split(":")) if account else None
    return httpx.get(url, auth=auth, timeout=30).raise_for_status().content


def assert_access_is_asked_for(url: str) -> None:
    assert httpx.post(f"{url}/api/flow_runs/count", json={}).status_code == 401
    assert json.loads(fetch(f"{url}/api/admin/version", ACCESS))


def assert_only_the_front_door_listens(cli: CommandLine, up: dict[str, Any]) -> None:
    """But for the runner's answers to its own flow runs, on loopback too; sockets and secrets are the owner's alone."""
    listening = [
        connection.laddr
        for pid in parts_of(cli.home)
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert ("127.0.0.1", up["port"]) in listening
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert stat.S_IMODE((cli.home / "up").stat().st_mode) == 0o700
    for name in ("token", "front-door.json", "state.json", "supervisord.conf"):
        assert stat.S_IMODE((cli.home / "up" / name).stat().st_mode) == 0o600


def test_down_and_status_are_answered_also_where_nothing_ever_ran(tmp_path: Path) -> None:
    command_line = CommandLine(tmp_path)
    assert command_line.json("status", code=1) == {"status": "DOWN", "parts": []}
    assert command_line.json("down")["was"] == "DOWN"
    assert not command_line.home.exists()


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = CommandLine(tmp_path).run("up", "--port", str(port))
    assert refused.code == 2
    assert f"127.0.0.1:{port}" in refused.err
    assert "--port" in refused.err


def test_a_failed_start_in_the_background_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = CommandLine(tmp_path).run("up", "--port", str(taken.getsockname()[1]), "--detach", "--json")
    assert refused.code == 2
    assert "in use" in refused.document["reason"]
    assert "in use" in refused.err


@pytest.mark.req("COM-06")
def test_other_machines_are_served_only_with_an_access_string(tmp_path: Path) -> None:
    refused = CommandLine(tmp_path).run("up", "--host", "0.0.0.0")  # noqa: S104 - what is to be refused
    assert refused.code == 2
    assert "MAKERFLOW_ACCESS_STRING" in refused.err
    misspelt = CommandLine(tmp_path, {"MAKERFLOW_ACCESS_STRING": "only-a-secret"}).run("up")
    assert misspelt.code == 2
    assert "user:password" in misspelt.err
    assert "only-a-secret" not in misspelt.err
    assert CommandLine(tmp_path).run("up", "--host", "example.com").code == 2


def test_a_home_whose_sockets_would_have_too_long_a_path_is_refused(tmp_path: Path) -> None:
    refused = CommandLine(tmp_path / ("d" * 90)).home
    command_line = CommandLine(tmp_path, {"MAKERFLOW_HOME": str(refused)})
    ended = command_line.run("up")
    assert ended.code == 2
    assert "107 bytes" in ended.err


@pytest.mark.req("COM-10")
def test_the_workflow_database_is_upgraded_when_it_is_older_and_refused_when_it_is_newer_or_damaged(
    home: Path, tmp_path: Path
) -> None:
    command_line = CommandLine(tmp_path, {"MAKERFLOW_HOME": str(home)})
    home.mkdir()
    database = home / "prefect.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9725c1cbee35')")
    assert prepare_prefect_database(read_settings())  # the revision of Prefect's first release
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of-the-future'")
    newer = command_line.run("up", "--port", str(free_port()))
    assert (newer.code, "newer Prefect" in newer.err) == (2, True)
    database.write_bytes(b"no database at all" * 100)
    damaged = command_line.run("up", "--port", str(free_port()))
    assert (damaged.code, "damaged" in damaged.err) == (2, True)
    assert str(database) in damaged.err


LATE = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from os import getpid
from deployments.up.instance import Instance, being_the_instance
from deployments.up.layout import Layout
layout = Layout(Path(sys.argv[1]))
with being_the_instance(layout):
    print("starts", flush=True)
    time.sleep(0.5)
    where = {"host": "127.0.0.1", "port": 1, "url": "http://127.0.0.1:1", "api": "http://127.0.0.1:1/api"}
    Instance(pid=getpid(), asks_for_access=False, started=datetime.now(UTC), **where).save(layout)
    time.sleep(60)
"""


@pytest.mark.req("COM-10")
def test_a_registry_of_a_newer_version_is_refused_before_anything_starts(home: Path, tmp_path: Path) -> None:
    command_line = CommandLine(tmp_path, {"MAKERFLOW_HOME": str(home)})
    command_line.json("experiment", "list")
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (("up",), ("up", "--detach")):
        newer = command_line.run(*arguments, "--port", str(free_port()))
        assert (newer.code != 0, "newer Makerflow" in newer.err, "Traceback" in newer.err) == (True, True, False)
    assert processes_of(home) == []
    assert not (home / "up" / "prefect.sock").exists()


@pytest.mark.req("COM-10")
def test_a_start_in_the_background_that_down_ended_is_not_told_as_a_crash(home: Path, tmp_path: Path) -> None:
    command_line = CommandLine(tmp_path, {"MAKERFLOW_HOME": str(home)})
    with command_line.start("up", "--detach", "--port", str(free_port())) as starting:
        wait_for(lambda: running_instance(Layout(home)), "it to say who it is")
        assert command_line.json("down")["was"] == "UP"
        ended = starting.end()
    assert ended.code == 1
    assert "`makerflow down` ended it while it started" in ended.err


def test_down_ends_an_instance_that_says_late_who_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(home)
    layout.directory.mkdir(parents=True)
    # By its clock twelve times as much passes: the instance is late by 6 s, longer than it was waited for once.
    clock = SimpleNamespace(monotonic=lambda: 12 * time.monotonic(), sleep=time.sleep)
    monkeypatch.setattr("deployments.up.ending.time", clock)
    with subprocess.Popen([sys.executable, "-c", LATE, str(home)], stdout=subprocess.PIPE) as starting:
        assert starting.stdout is not None
        starting.stdout.readline()
        assert end_instance(layout).ran
        assert starting.wait(10) == -signal.SIGTERM
