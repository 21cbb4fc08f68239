"""Stopping, leaving and re-attaching to trainings that are under way."""

from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine


def waiting(code: Path, name: str) -> list[str]:
    go = code.parent / f"{name}.go"
    return ["train", "--name", name, "--algorithm", str(code), "--entry-point", "wait.py", "--hp", f"go={go}"]


def let_go(code: Path, name: str) -> None:
    (code.parent / f"{name}.go").touch()


@pytest.mark.req("TRN-13")
def test_ctrl_c_once_stops_the_training(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(code, "once")) as command:
        command.read_until("waiting")
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running")
        ended = command.end()

    assert ended.code == 130
    assert "once" in ended.out
    assert "STOPPED" in ended.out
    assert cli.json("training", "show", "once")["status"] == "STOPPED"


def test_ctrl_c_twice_leaves_the_training_running_and_says_how_to_follow_it_again(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(code, "twice"), "--json") as command:
        command.read_until("RUNNING", error=True)
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running", error=True)
        command.interrupt()
        ended = command.end()
    running = cli.json("training", "show", "twice")
    let_go(code, "twice")
    resumed = cli.json("training", "resume", "twice")

    assert ended.code == 130
    assert "makerflow training resume twice" in ended.err
    assert ended.document["status"] == "RUNNING"
    assert running["status"] == "RUNNING"
    assert resumed["status"] == "COMPLETE"
    assert resumed["id"] == running["id"]


def test_a_refused_duplicate_shows_nothing_of_the_other_that_runs(cli: CommandLine, code: Path) -> None:
    cli.json(*waiting(code, "other"), "--detach")
    cli.wait_for_status("other", "RUNNING")
    with cli.start(*waiting(code, "other"), "--json") as command:
        refused = command.end()
    let_go(code, "other")

    assert refused.code == 2
    assert refused.document["status"] == "INVALID"
    assert "RUNNING" not in refused.err
    assert cli.json("training", "resume", "other")["status"] == "COMPLETE"


@pytest.mark.req("TRN-13", "COM-10")
def test_a_detached_training_is_followed_and_stopped_from_other_processes(cli: CommandLine, code: Path) -> None:
    detached = cli.json(*waiting(code, "detached"), "--detach")
    with cli.start("training", "logs", "detached", "-f") as logs:
        logs.read_until("waiting")
        deleted = cli.run("training", "delete", "detached", "--yes")
        stopped = cli.json("training", "stop", "detached")
        followed = logs.end()

    assert detached["name"] == "detached"
    assert deleted.code == 1
    assert "stop" in deleted.err.lower()
    assert stopped["status"] == "STOPPED"
    assert followed.code == 0
    assert cli.json("training", "list", "--status", "stopped", "--name", "detached")["items"][0]["id"] == detached["id"]


def test_a_killed_command_leaves_a_training_that_can_be_resumed(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(code, "killed")) as command:
        command.read_until("waiting")  # and killed where the block ends
    found = cli.json("doctor", code=1)["findings"]
    let_go(code, "killed")

    remedies = [finding["remedy"] for finding in found if finding["level"] == "problem"]
    assert any("makerflow training resume killed" in remedy for remedy in remedies)
    assert cli.json("training", "resume", "killed")["status"] == "COMPLETE"


def test_a_reader_that_has_gone_harms_neither_the_command_nor_the_training(cli: CommandLine, code: Path) -> None:
    with cli.start(*waiting(code, "headless")) as command:
        command.read_until("waiting")
        command.close_stdout()
        let_go(code, "headless")
        ended = command.end()

    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert "Broken" not in ended.err
