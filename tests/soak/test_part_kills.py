"""Parts of `makerflow up` are killed -9 at random while trainings run: each comes back, and nothing is lost."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.command_line import CommandLine
from tests.processes import parts_of, processes_of
from tests.servers import free_port
from tests.waiting import wait_for

TRAIN = """
import os, pathlib, sys, time
starts = pathlib.Path(os.environ["EM_HP_STARTS"])
(starts / str(os.getpid())).write_text("")
for step in range(1, 101):
    print(f"step={step} loss={1 / step}", flush=True)
    time.sleep(0.15)
pathlib.Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("model")
"""


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_kills_of_parts_leave_no_orphan_and_lose_no_training(tmp_path: Path) -> None:
    chance = random.Random(seed := int(os.environ.get("MAKERFLOW_TEST_SEED", time.time())))
    print(f"seed {seed}")
    command_line = CommandLine(tmp_path)
    with running_platform(command_line):
        names = kill_parts(command_line, chance, kills=100)
        for name in names:
            command_line.wait_for_status(name, "COMPLETE")
            assert len(list((tmp_path / f"starts-{name}").iterdir())) == 1, (seed, name)
            metrics = command_line.json("training", "show", name)["metrics"]
            assert metrics["loss"]["count"] == 100, (seed, name, metrics)
    assert parts_of(command_line.home) == {}
    assert processes_of(command_line.home) == []


@contextmanager
def running_platform(command_line: CommandLine) -> Iterator[dict[str, Any]]:
    """What `up --detach` printed; ended by `down`."""
    try:
        up = command_line.run("up", "--detach", "--port", str(free_port()), "--json")
        assert up.code == 0, up
        yield up.document
    finally:
        assert command_line.run("down").code == 0


def kill_parts(command_line: CommandLine, chance: random.Random, kills: int) -> list[str]:
    """Kill one after the other, each while a training runs; the trainings' names."""
    names: list[str] = []
    for number in range(kills):
        if not names or command_line.json("training", "show", names[-1])["status"] == "COMPLETE":
            names.append(start_training(command_line, f"t{number}"))
        time.sleep(chance.uniform(0, 3))
        kill_one(command_line, chance)
    return names


def start_training(command_line: CommandLine, name: str) -> str:
    code, starts = command_line.directory / "code", command_line.directory / f"starts-{name}"
    code.mkdir(exist_ok=True)
    starts.mkdir()
    (code / "train.py").write_text(TRAIN)
    command_line.json(
        *("train", "--name", name, "--algorithm", str(code), "--entry-point", "train.py", "--hp", f"starts={starts}"),
        *("--output", str(command_line.directory / f"out-{name}"), "--detach"),
    )
    return name


def kill_one(command_line: CommandLine, chance: random.Random) -> str:
    """Kill a part and wait until it is back and all is well; its name. The guard is brought back by `up`."""
    before = command_line.json("status")
    (guard, *others), port = before["parts"], before["port"]
    part = chance.choice([guard, *others])
    os.kill(part["pid"], signal.SIGKILL)
    if part is guard:
        psutil.wait_procs([psutil.Process(one["pid"]) for one in others if psutil.pid_exists(one["pid"])], timeout=60)
        command_line.json("up", "--detach", "--port", str(port))

    def look() -> bool | None:
        document = command_line.run("status", "--json").document
        now = {one["name"]: one["pid"] for one in document["parts"]}
        return (document["status"] == "UP" and now[part["name"]] != part["pid"]) or None

    wait_for(look, f"{part['name']} to be back")
    return str(part["name"])
