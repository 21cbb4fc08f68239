"""A training is watched while who follows it is killed -9 again and again: no sample is lost, none counts twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.layout import RunLayout
from blocks.connections.platform import open_platform
from blocks.domain.specs import TrainingSpec
from blocks.domain.usage import UsageKind
from flows.training import resume_training
from tests.processes import processes_of

TRAIN = """
import time
until = time.time() + {seconds}
while time.time() < until:
    sum(range(20_000))
    time.sleep(0.05)
"""
CREATE = """
import sys
from blocks.domain.specs import TrainingSpec
from flows.training import create_training
print("on", flush=True)
create_training(TrainingSpec.model_validate_json(sys.argv[1]))
"""
RESUME = """
import sys
from flows.training import resume_training
print("on", flush=True)
resume_training(sys.argv[1])
"""
SECONDS = 150
AGENT_PERCENT = 5.0
"""Of a processor, for all that an agent does beside looking: it also synchronises and measures directories."""


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.req("COM-08")
def test_through_many_kills_each_sample_counts_once(home: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("MAKERFLOW_TEST_SEED", time.time()))
    print(f"seed {seed}")
    chance = random.Random(seed)
    training_id = started(tmp_path, seconds=SECONDS)
    pid = agent_pid(RunLayout(home, training_id))
    assert pid
    began, spent = time.monotonic(), processor_seconds(pid)
    kills = 0
    while time.monotonic() < began + SECONDS / 2:
        with following(RESUME, training_id):
            time.sleep(chance.uniform(0.5, 6.0))
        kills += 1
    percent = 100 * (processor_seconds(pid) - spent) / (time.monotonic() - began)
    training = resume_training(training_id)

    monitoring = open_platform().registry.monitoring
    for worker in monitoring.workers(training.id):
        points = monitoring.curve(training.id, worker.rank, at_most=10_000)
        covered = sum(point.seconds for point in points)
        span = (points[-1].at - points[0].at).total_seconds() + points[0].seconds
        assert covered == pytest.approx(span, rel=0.01)
        assert covered > 0.9 * SECONDS
        assert len(points) == worker.samples
        assert worker.figures[UsageKind.CPU].mean > 0
        print(f"worker {worker.rank}: {worker.samples} samples of {covered:.0f} s through {kills} kills")
    print(f"the agent used {percent:.2f} % of a processor")
    assert percent < AGENT_PERCENT
    assert processes_of(home) == []


def started(directory: Path, seconds: int) -> str:
    """The id of a training whose workers run, and whose flow was killed."""
    (directory / "code").mkdir()
    (directory / "code" / "train.py").write_text(TRAIN.format(seconds=seconds))
    spec = TrainingSpec(name="watched", algorithm=f"file://{directory}/code", entry_point="train.py", workers=2)
    trainings = open_platform().registry.trainings
    deadline = time.monotonic() + 60
    with following(CREATE, spec.model_dump_json()):
        while not any(row.started for row in trainings.page().items):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return trainings.get("watched").id


@contextmanager
def following(program: str, argument: str) -> Iterator[None]:
    """A process that follows the training until the end of the block, which kills it."""
    with subprocess.Popen([sys.executable, "-c", program, argument], stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"on\n"
        yield
        follower.send_signal(signal.SIGKILL)


def processor_seconds(pid: int) -> float:
    """What a process itself used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
