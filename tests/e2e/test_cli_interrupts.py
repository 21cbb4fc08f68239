"""Stopping, leaving and re-attaching to trainings that are under way."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine


def waiting(cli: CommandLine, code: Path, name: str) -> list[str]:
    go = f"go={cli.go(name)}"
    return ["train", "--name", name, "--algorithm", str(code), "--entry-point", "wait.py", "--hp", go]


@pytest.mark.req("TRN-13")
def test_ctrl_c_once_stops_the_training(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(cli, code, "once")) as command:
        command.read_until("waiting")
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running")
        ended = command.end()

    assert ended.code == 130
    assert "once" in ended.out
    assert "STOPPED" in ended.out
    assert cli.json("training", "show", "once")["status"] == "STOPPED"


def test_ctrl_c_twice_leaves_the_training_running_and_says_how_to_follow_it_again(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(cli, code, "twice"), "--json") as command:
        command.read_until("RUNNING", error=True)
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running", error=True)
        command.interrupt()
        ended = command.end()
    running = cli.json("training", "show", "twice")
    cli.let_go("twice")
    resumed = cli.json("training", "resume", "twice")

    assert ended.code == 130
    assert "makerflow training resume twice" in ended.err
    assert ended.document["status"] == "RUNNING"
    assert running["status"] == "RUNNING"
    assert resumed["status"] == "COMPLETE"
    assert resumed["id"] == running["id"]


def test_sigterm_leaves_the_training_running_and_one_document_that_says_how_to_follow_it_again(
    cli: CommandLine, code: Path
) -> None:
    with cli.start(*waiting(cli, code, "terminated"), "--json") as command:
        command.read_until("RUNNING", error=True)
        command.terminate()
        ended = command.end()
    cli.let_go("terminated")

    assert ended.code == 143
    assert ended.document["status"] == "RUNNING"
    assert "makerflow training resume terminated" in ended.document["message"]
    assert cli.json("training", "resume", "terminated")["status"] == "COMPLETE"


@pytest.mark.usefixtures("forked_followers")
def test_a_refused_duplicate_shows_nothing_of_the_other_that_runs(cli: CommandLine, code: Path) -> None:
    cli.json(*waiting(cli, code, "other"), "--detach")
    cli.wait_for_status("other", "RUNNING")
    with cli.start(*waiting(cli, code, "other"), "--json") as command:
        refused = command.end()
    cli.let_go("other")

    assert refused.code == 2
    assert refused.document["status"] == "INVALID"
    assert "RUNNING" not in refused.err
    assert cli.json("training", "resume", "other")["status"] == "COMPLETE"


def test_ctrl_c_twice_before_anything_exists_leaves_one_document(cli: CommandLine, code: Path, tmp_path: Path) -> None:
    (tmp_path / "prefect.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(0.2)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
    )
    early = replace(cli, environment={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"})
    ended = early.spawn(*waiting(cli, code, "early"), "--json")

    assert ended.code == 130
    assert ended.document["status"] == "INTERRUPTED"
    assert "Nothing was started" in ended.err


@pytest.mark.parametrize(("number", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("module", ["typer", "deployments.cli.settings_file", "blocks.connections.platform"])
def test_a_signal_during_an_import_is_told_and_leaves_one_document(
    cli: CommandLine, code: Path, module: str, number: str, exit_code: int
) -> None:
    program = (
        "import importlib.abc, signal, sys\n"
        "class Press(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            signal.raise_signal(signal.{number})\n"
        "sys.meta_path.insert(0, Press())\n"
        "from deployments.cli.main import main\n"
        "main()\n"
    )
    environment = {**os.environ, "MAKERFLOW_HOME": str(cli.home)}
    command = [sys.executable, "-c", program, *waiting(cli, code, "never"), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cli.directory, env=environment)

    assert ended.returncode == exit_code
    assert ended.stderr == "Interrupted; nothing was started.\n"
    assert json.loads(ended.stdout)["status"] == "INTERRUPTED"


@pytest.mark.req("TRN-13", "COM-10")
def test_a_detached_training_is_followed_and_stopped_from_other_processes(cli: CommandLine, code: Path) -> None:
    detached = cli.json(*waiting(cli, code, "detached"), "--detach")
    with cli.start("training", "logs", "detached", "-f") as logs:
        logs.read_until("waiting")
        deleted = cli.run("training", "delete", "detached", "--yes")
        stopping = cli.run("training", "stop", "detached", "--json")
        stopped = json.loads(stopping.out)
        followed = logs.end()

    assert detached["name"] == "detached"
    assert deleted.code == 1
    assert "stop" in deleted.err.lower()
    assert stopped["status"] == "STOPPED"
    assert stopping.err.startswith("Stopping detached ...")
    assert followed.code == 0
    assert cli.json("training", "list", "--status", "stopped", "--name", "detached")["items"][0]["id"] == detached["id"]


@pytest.mark.usefixtures("forked_followers")
def test_a_killed_command_leaves_a_training_that_can_be_resumed(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(cli, code, "killed")) as command:
        command.read_until("waiting")  # and killed where the block ends
    found = cli.json("doctor", code=1)["findings"]
    cli.let_go("killed")

    remedies = [finding["remedy"] for finding in found if finding["level"] == "problem"]
    assert any("makerflow training resume killed" in remedy for remedy in remedies)
    assert cli.json("training", "resume", "killed", "--detach")["name"] == "killed"
    cli.wait_for_status("killed", "COMPLETE")


def test_a_reader_that_has_gone_harms_neither_the_command_nor_the_training(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(cli, code, "headless")) as command:
        command.read_until("waiting")
        command.close_stdout()
        cli.let_go("headless")
        ended = command.end()

    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert "Broken" not in ended.err
