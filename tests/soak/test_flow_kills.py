"""The flow's process is killed -9 at random moments and run again: each training completes with one set of workers."""

import os
import random
import time
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrainingStatus
from flows.training import create_training
from tests.flow_process import another_process
from tests.processes import processes_of

TRAIN = """
import os, pathlib, sys, time
starts = pathlib.Path(sys.argv[sys.argv.index("--starts") + 1])
(starts / f"{os.environ['RANK']}-{os.getpid()}").write_text("")
for step in range(1, 21):
    print(f"step={step} loss={1 / step}", flush=True)
    time.sleep(0.05)
if os.environ["RANK"] == "0":
    pathlib.Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("model")
"""


def test_a_few_kills_of_the_flow_lose_nothing(home: Path, tmp_path: Path) -> None:
    campaign(home, tmp_path, kills=2, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_of_the_flow_lose_nothing(home: Path, tmp_path: Path) -> None:
    campaign(home, tmp_path, kills=50, seed=int(os.environ.get("MAKERFLOW_TEST_SEED", time.time())))


def campaign(home: Path, tmp_path: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(kills):
        kill_once(home, tmp_path / str(number), f"kill-{number}", chance.uniform(0.0, 4.0))
    assert processes_of(home) == []


def kill_once(home: Path, directory: Path, name: str, seconds: float) -> None:
    (directory / "code").mkdir(parents=True)
    (directory / "starts").mkdir()
    (directory / "code" / "train.py").write_text(TRAIN)
    spec = {
        "name": name,
        "algorithm": f"file://{directory}/code",
        "entry_point": "train.py",
        "workers": 2,
        "output": f"file://{directory}/out",
        "hyperparameters": {"starts": f"{directory}/starts"},
    }
    with another_process(create_training, spec) as flow:
        flow.join(seconds)
        flow.kill()
    if not done(name):
        create_training(spec)
    row = open_platform().registry.trainings.get(name)
    assert row.status is TrainingStatus.COMPLETE, (seconds, row.reason)
    assert len(list((directory / "starts").iterdir())) == 2, (seconds, "more than one set of workers")
    [loss] = [s for s in open_platform().registry.metrics.names(row.id) if s.name == "loss"]
    assert (loss.count, loss.last_step) == (20, 20), (seconds, "lines lost or read twice")
    assert sorted(p.name for p in (directory / "out").iterdir()) == ["makerflow-logs", "model.txt"]


def done(name: str) -> bool:
    rows = [row for row in open_platform().registry.trainings.page().items if row.name == name]
    return bool(rows) and rows[0].status is TrainingStatus.COMPLETE
