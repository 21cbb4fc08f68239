"""PyTorch and TensorFlow for real: `make test-frameworks` makes an environment that has both, and names it."""

import os
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrainingStatus
from blocks.registry.records import Training
from flows.training import create_training
from tests.integration.flows.conftest import MakeSpec

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]

TORCH = """
import argparse, os, pathlib, signal
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--kill_at", type=int, default=-1)
kill_at = parser.parse_args().kill_at

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
features = torch.randn(64, 8)
targets = features.sum(dim=1, keepdim=True)
mine = slice(rank, None, size)

first = 0
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
if given:
    state = torch.load(pathlib.Path(given, "last.pt"))
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["step"] + 1
    print("going on at step", first, flush=True)

for step in range(first, 40):
    loss = torch.nn.functional.mse_loss(model(features[mine]), targets[mine])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    if rank == 0:
        checkpoint = pathlib.Path(os.environ["EM_CHECKPOINT_DIR"], "last.pt")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, f"{checkpoint}.part")
        os.replace(f"{checkpoint}.part", checkpoint)
    dist.barrier()
    print(f"step={step} loss={mean.item() / size!r}", flush=True)
    if step == kill_at and rank == size - 1 and not given:
        os.kill(os.getpid(), signal.SIGKILL)

if rank == 0:
    torch.save(model.module.state_dict(), pathlib.Path(os.environ["EM_MODEL_DIR"], "model.pt"))
dist.destroy_process_group()
"""

TORCHRUN = """
import os, pathlib, sys
pathlib.Path("ddp.py").write_text(CODE)
os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "ddp.py", *sys.argv[1:]])
"""

TENSORFLOW = """
import os, pathlib
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
size = strategy.num_replicas_in_sync
print("replicas", size, flush=True)
features = tf.random.stateless_normal([64, 4], seed=[0, 1])
targets = tf.reduce_sum(features, axis=1, keepdims=True)
rank = strategy.cluster_resolver.task_id
mine = features[rank::size], targets[rank::size]
with strategy.scope():
    weights = tf.Variable(tf.zeros([4, 1]), aggregation=tf.VariableAggregation.MEAN)


def step_of_replica(rows, expected):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((rows @ weights - expected) ** 2)
    weights.assign_sub(0.1 * tape.gradient(loss, weights))
    return loss


@tf.function
def step_of_all(rows, expected):
    return strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(step_of_replica, args=(rows, expected)), axis=None)


for step in range(30):
    print(f"step={step} loss={float(step_of_all(*mine))!r}", flush=True)
if rank == 0:
    pathlib.Path(os.environ["EM_MODEL_DIR"], "weights.txt").write_text(str(weights.numpy().ravel().tolist()))
"""


@pytest.fixture
def framework_image(home: Path) -> str:
    """The name of an image whose interpreter has both frameworks."""
    python = os.environ.get("MAKERFLOW_TEST_FRAMEWORKS")
    if not python:
        pytest.skip("MAKERFLOW_TEST_FRAMEWORKS names no interpreter with torch and TensorFlow (make test-frameworks)")
    home.mkdir(parents=True)
    (home / "catalogue.yaml").write_text(f"images: [{{name: frameworks, python_path: {python}}}]\n")
    return "frameworks"


def final_loss(training: object) -> float:
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE, training.reason
    [loss] = [series for series in open_platform().registry.metrics.names(training.id) if series.name == "loss"]
    assert loss.last is not None
    return loss.last


def loss_curve(training: object) -> dict[int, float | None]:
    assert isinstance(training, Training)
    return {point.step: point.value for point in open_platform().registry.metrics.curve(training.id, "loss")}


@pytest.mark.req("TRN-19", "TRN-07", "TRN-08")
def test_ddp_over_gloo_that_is_killed_goes_on_from_its_checkpoint_to_the_same_loss(
    make_spec: MakeSpec, framework_image: str, tmp_path: Path
) -> None:
    settings = {"workers": 2, "image": framework_image}
    undisturbed = create_training(make_spec(TORCH, "undisturbed", **settings))
    killed = create_training(make_spec(TORCH, "killed", hyperparameters={"kill_at": 20}, **settings))
    assert final_loss(killed) == final_loss(undisturbed)
    assert loss_curve(killed) == loss_curve(undisturbed)
    output = tmp_path / "out-killed" / "makerflow-logs" / "output.log"
    assert "going on at step 21" in output.read_text()


@pytest.mark.req("TRN-19")
def test_torchrun_in_each_worker_makes_one_job_of_them(make_spec: MakeSpec, framework_image: str) -> None:
    settings = {"workers": 2, "image": framework_image}
    plain = create_training(make_spec(TORCH, "plain", **settings))
    by_torchrun = create_training(make_spec(f"CODE = {TORCH!r}\n{TORCHRUN}", "by-torchrun", **settings))
    assert final_loss(by_torchrun) == final_loss(plain)


@pytest.mark.req("TRN-18")
def test_a_multi_worker_mirrored_strategy_reads_our_configuration(
    make_spec: MakeSpec, framework_image: str, tmp_path: Path
) -> None:
    training = create_training(make_spec(TENSORFLOW, "tensorflow", workers=2, image=framework_image))
    assert final_loss(training) < 1e-3
    assert "replicas 2" in (tmp_path / "out-tensorflow" / "makerflow-logs" / "output.log").read_text()
    assert (tmp_path / "out-tensorflow" / "weights.txt").read_text()
