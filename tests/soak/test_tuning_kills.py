"""The flow of a tuning is killed -9 again and again and resumed: no trial is lost, and none runs twice."""

import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.records import Trial, Tuning
from flows.tuning import create_tuning
from tests.flow_process import another_process
from tests.processes import processes_of
from tests.waiting import wait_until

TRAIN = """
import os, pathlib, time
x, y = float(os.environ["EM_HP_X"]), float(os.environ["EM_HP_Y"])
starts = pathlib.Path(os.environ["EM_HP_STARTS"])
with open(starts / f"{os.environ['EM_HP_X']}", "a") as file:
    file.write(f"{os.getpid()}\\n")
for step in range(1, 6):
    print(f"step={step} loss={(x - 1) ** 2 + (y + 2) ** 2 + 1 / step}", flush=True)
    time.sleep(float(os.environ["EM_HP_PAUSE"]))
"""


def test_a_few_kills_of_a_tunings_flow_lose_and_double_nothing(home: Path, tmp_path: Path) -> None:
    campaign(home, tmp_path, trials=4, kills=2, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.req("TUN-17", "TUN-08")
def test_thirty_kills_of_a_tunings_flow_lose_and_double_nothing(home: Path, tmp_path: Path) -> None:
    campaign(home, tmp_path, trials=40, kills=30, seed=int(os.environ.get("MAKERFLOW_TEST_SEED", time.time())))


def campaign(home: Path, directory: Path, *, trials: int, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    undisturbed = create_tuning(spec_of(directory, "undisturbed", trials, pause=0.0))
    assert isinstance(undisturbed, Tuning)
    for at_once in (1, 2):
        name = f"killed-{at_once}"
        killed = killed_and_resumed(spec_of(directory, name, trials, 0.1, at_once), kills // 2, chance)
        check(killed, trials, directory / f"starts-{name}")
        if at_once == 1:
            assert points_of(killed) == points_of(undisturbed), seed
            assert (killed.best_number, killed.best_value) == (undisturbed.best_number, undisturbed.best_value), seed
    assert processes_of(home) == []


def spec_of(directory: Path, name: str, trials: int, pause: float, at_once: int = 1) -> dict[str, Any]:
    code, starts = directory / "code", directory / f"starts-{name}"
    code.mkdir(exist_ok=True)
    starts.mkdir()
    (code / "train.py").write_text(TRAIN)
    return {
        "name": name,
        "algorithm": f"file://{code}",
        "entry_point": "train.py",
        "hyperparameters": {"starts": str(starts), "pause": str(pause)},
        "parameters": ["x=DOUBLE[-5,5]", "y=DOUBLE[-5,5]"],
        "objective_metric": "loss",
        "random_state": 5,
        "max_trainings": trials,
        "parallel_trainings": at_once,
    }


def killed_and_resumed(spec: dict[str, Any], kills: int, chance: random.Random) -> Tuning:
    """The tuning, whose flow was killed so often, each time after some trials more."""
    total = spec["max_trainings"]
    for kill in range(kills):
        with another_process(create_tuning, spec) as flow:
            due = (kill + 1) * total // (kills + 1)
            wait_until(partial(has_run, spec["name"], due), f"{due} trials of {spec['name']}", 300)
            time.sleep(chance.uniform(0, 0.7))
            flow.kill()
    with another_process(create_tuning, spec) as flow:
        flow.join(600)
    assert flow.exitcode == 0
    return open_platform().registry.tunings.get(spec["name"])


def has_run(name: str, count: int) -> bool:
    try:
        row = open_platform().registry.tunings.get(name)
    except NotFoundError:
        return False
    return row.completed >= count or row.status is TuningStatus.COMPLETE


def check(tuning: Tuning, trials: int, starts: Path) -> None:
    rows = trials_of(tuning)
    assert (tuning.status, len(rows)) == (TuningStatus.COMPLETE, trials), tuning.reason
    assert Counter(trial.status for trial in rows) == {TrialStatus.SUCCEEDED: trials}
    assert [trial.number for trial in rows] == list(range(1, trials + 1))
    metrics = open_platform().registry.metrics
    for trial in rows:
        begun = (starts / trial.parameters["x"]).read_text().split()
        assert len(begun) == 1, (trial.number, "a worker ran twice")
        [loss] = metrics.names(trial.training_id)
        assert (loss.count, loss.last_step) == (5, 5), (trial.number, "lines lost or read twice")


def points_of(tuning: Tuning) -> list[dict[str, str]]:
    return [trial.parameters for trial in trials_of(tuning)]


def trials_of(tuning: Tuning) -> list[Trial]:
    return open_platform().registry.tunings.trials(tuning.id)
