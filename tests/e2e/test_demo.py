"""`make demo`, as it is typed: a server, two trainings, a tuning, and what stays."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest

from deployments.demo import _what_next
from tests.processes import processes_of

DEADLINE_SECONDS = 170

pytestmark = pytest.mark.timeout(2 * DEADLINE_SECONDS + 30)


@contextmanager
def demo(home: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The demo, begun; nothing of it may be left afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        [sys.executable, "-m", "deployments.demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | {"MAKERFLOW_HOME": str(home)} | settings,
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


@pytest.mark.req("COM-01", "TRN-02", "TRN-03", "TRN-05", "TRN-06", "TRN-08", "TRN-19", "TRN-20", "TUN-01", "TUN-09")
def test_the_demo_trains_two_models_tunes_one_and_says_where_they_are(home: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    with demo(home) as process:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    check_trainings(output, home)
    check_tuning(output, home)
    check_suggestions(output)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(home)} <= before

    # In the same home all have names of their own.
    assert_ctrl_c_ends_it(home, shown="digits-tuning-2/3 RUNNING", stopped="digits-tuning-2")


def check_trainings(output: str, home: Path) -> None:
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
    for text in (f"{outputs}/digits-tabular/model", "training logs digits-two-workers", "epoch=40 loss="):
        assert text in output


def check_tuning(output: str, home: Path) -> None:
    statuses = re.findall(r"digits-tuning/\d (SUCCEEDED|EARLY_STOPPED|FAILED)", output)
    assert len(statuses) == 8, output
    assert statuses.count("EARLY_STOPPED") >= 1, output
    assert "FAILED" not in statuses
    found = dict(re.findall(r"^(lr|hidden|batch|val_loss|accuracy|plot|training|its model|go on) +(.+)$", output, re.M))
    assert 1e-4 <= float(found["lr"]) <= 1
    assert float(found["accuracy"].split("%")[0]) > 95
    plot = ElementTree.parse(found["plot"]).getroot()  # noqa: S314 - it is ours
    assert len(list(plot.iter("{http://www.w3.org/2000/svg}circle"))) >= 8
    best = re.fullmatch(r"(digits-tuning/(\d)), ready for a model", found["training"])
    assert best
    assert Path(found["its model"]) == home / "outputs" / best[1] / "model"
    with np.load(Path(found["its model"], "model.npz")) as model:
        assert model["hidden"].shape == (64, int(found["hidden"]))
    shown = subprocess.run(found["go on"], shell=True, capture_output=True, text=True)  # noqa: S602 - as it is typed
    assert (shown.returncode, best[1] in shown.stdout) == (0, True), shown.stderr


def check_suggestions(output: str) -> None:
    *commands, up = re.findall(r"^  (MAKERFLOW_HOME=.+)$", output.split("To try next:")[1], re.M)
    assert up.endswith(" up")
    for command in commands:
        done = subprocess.run(command, shell=True, capture_output=True, text=True)  # noqa: S602 - as it is typed
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cluster", ["local", "kubernetes"])
def test_on_a_cluster_nothing_is_suggested_that_ends_with_the_server(
    cluster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deployments.demo.read_settings", lambda: SimpleNamespace(cluster=cluster, home=Path("home")))
    _what_next(SimpleNamespace(name="own"), SimpleNamespace(name="tuned"))
    said = capsys.readouterr().out
    assert "tuning trials tuned" in said
    assert ("training logs" in said) is (cluster == "local")


def test_what_is_suggested_says_where_the_demo_ran(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "CLUSTER": "kubernetes",
        "NAMESPACE": "ml",
        "IMAGE": "registry.example/makerflow:1",
        "ACCESS_STRING": "a:b",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"MAKERFLOW_{name}", value)
    _what_next(SimpleNamespace(name="own"), SimpleNamespace(name="tuned"))
    where = "MAKERFLOW_CLUSTER=kubernetes MAKERFLOW_NAMESPACE=ml MAKERFLOW_IMAGE=registry.example/makerflow:1 "
    for command in capsys.readouterr().out.strip().splitlines()[1:]:
        assert where in command
        assert "a:b" not in command


def test_ctrl_c_ends_the_demo_and_what_it_runs(home: Path) -> None:
    home.mkdir()
    (home / "catalogue.yaml").write_text(f"images: [{{name: scikit-learn, python_path: {sys.executable}}}]\n")
    assert_ctrl_c_ends_it(home, shown="placed on", stopped="digits-tabular")


def assert_ctrl_c_ends_it(home: Path, *, shown: str, stopped: str) -> None:
    with demo(home) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if shown in line:
                break
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, output
    assert f"[{stopped}] STOPPED" in output or f"[{stopped}] COMPLETE" in output  # it may have been quicker
    assert "digits-two-workers" not in output
    assert "Traceback" not in output


def test_a_demo_whose_server_cannot_start_says_why_in_one_message(home: Path, tmp_path: Path) -> None:
    (tmp_path / "moto").mkdir()
    (tmp_path / "moto" / "__init__.py").write_text("raise ImportError('there is no moto here')")
    environment = {**os.environ, "MAKERFLOW_HOME": str(home), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "deployments.demo"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert ended.returncode == 1
    assert "Error: The store of the demo is not available: there is no moto here." in ended.stderr
    assert "Traceback" not in ended.stderr
