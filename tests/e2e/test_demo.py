"""`make demo`, as it is typed: a server, two trainings, and what stays."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.processes import processes_of

DEADLINE_SECONDS = 170

pytestmark = pytest.mark.timeout(DEADLINE_SECONDS + 30)


@contextmanager
def demo(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo, begun; nothing of it may be left afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | {"MAKERFLOW_HOME": str(home)},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
    assert processes_of(home) == []
    assert not [one.pid for one in psutil.process_iter() if _serves_a_demo(one) and one.ppid() in (1, process.pid)]


def _serves_a_demo(process: psutil.Process) -> bool:
    try:
        return "deployments.demo_store" in process.cmdline()
    except psutil.Error:
        return False


@pytest.mark.req("COM-01", "TRN-02", "TRN-03", "TRN-05", "TRN-06", "TRN-08", "TRN-19", "TRN-20")
def test_the_demo_trains_two_models_and_says_where_they_are(home: Path) -> None:
    with demo(home) as process:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    accuracies = [float(line.split()[1].rstrip("%")) for line in output.splitlines() if line.endswith("%")]
    assert len(accuracies) == 2
    assert min(accuracies) > 90, output
    outputs = home / "outputs"
    assert json.loads((outputs / "digits-tabular" / "model" / "model.json").read_text())["target"] == "digit"
    with np.load(outputs / "digits-two-workers" / "model" / "model.npz") as model:
        assert model["hidden"].shape == (64, 64)
    assert (outputs / "digits-two-workers" / "checkpoints" / "epoch-00040.npz").exists()
    logs = outputs / "digits-two-workers" / "model" / "makerflow-logs"
    assert "worker 1 of 2 learns from 718" in (logs / "worker-1" / "output.log").read_text()
    for text in (f"{outputs}/digits-tabular/model", "training show digits-two-workers", "epoch=40 loss="):
        assert text in output


def test_ctrl_c_ends_the_demo_and_its_training(home: Path) -> None:
    home.mkdir()
    (home / "catalogue.yaml").write_text(f"images: [{{name: scikit-learn, python_path: {sys.executable}}}]\n")
    with demo(home) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "placed on" in line:
                break
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, output
    assert "[digits-tabular] STOPPED" in output or "[digits-tabular] COMPLETE" in output  # it may have been quicker
    assert "digits-two-workers" not in output


def test_a_demo_whose_server_cannot_start_says_why_in_one_message(home: Path, tmp_path: Path) -> None:
    (tmp_path / "moto").mkdir()
    (tmp_path / "moto" / "__init__.py").write_text("raise ImportError('there is no moto here')")
    environment = {**os.environ, "MAKERFLOW_HOME": str(home), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "deployments.demo"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert ended.returncode == 1
    assert "Error: The store of the demo is not available: there is no moto here." in ended.stderr
    assert "Traceback" not in ended.stderr
