"""The rules of a tuning on Kubernetes, in one: workers, metrics, early stopping, a trial's time, TensorBoard."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubernetes.conftest import ClusterCommandLine
from tests.e2e.test_cli_tuning import trials_of

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes tuning rules")]

CODE = """
import os, time
k, rank = int(os.environ["EM_HP_K"]), int(os.environ["RANK"])
print("worker", rank, "of", os.environ["WORLD_SIZE"], flush=True)
for step in range(1, 4):
    if k != 4:
        print(f"step={step}\\nerror-rate is {10 * k - step / 100 - rank}", flush=True)
time.sleep(0 if k <= 2 else 120)
"""


@pytest.fixture(scope="module")
def trials(cli: ClusterCommandLine, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    code: Path = tmp_path_factory.mktemp("ruled")
    (code / "main.py").write_text(CODE)
    search = ("--param", "k=INT[1,4,step=1]", "--strategy", "grid", "--parallel", "2", "--workers", "2")
    metrics = ("--metric", r"(error-rate) is ([0-9.]+)", "--metric", r"(step)=(\d+)", "--objective", "error-rate")
    rules = ("--min-trainings-required", "2", "--start-step", "1", "--max-time", "12s", "--output", cli.place("ruled"))
    named = ("tune", "--name", "ruled", "--algorithm", str(code), "--entry-point", "main.py")
    ended = cli.spawn(*named, *search, *metrics, *rules, "--minimize", "--json")
    assert ended.code == 0, ended
    assert ended.document["best"]["number"] == 1
    return trials_of(cli, "ruled")


@pytest.mark.req("TUN-03", "TUN-04", "TUN-09", "TUN-10")
def test_trials_of_several_workers_end_by_their_rules(cli: ClusterCommandLine, trials: list[dict[str, Any]]) -> None:
    statuses = [trial["status"] for trial in trials]
    assert statuses == ["SUCCEEDED", "SUCCEEDED", "EARLY_STOPPED", "FAILED"]
    assert [trial["objective"] for trial in trials[:2]] == [pytest.approx(9.97), pytest.approx(19.97)]
    assert "median" in trials[2]["reason"]
    assert "time limit" in trials[3]["reason"]
    assert "worker 1 of 2" in cli.run("training", "logs", "ruled/1", "--rank", "1").out


@pytest.mark.req("TUN-16")
def test_tensorboard_has_every_trial_with_its_hyperparameters(
    cli: ClusterCommandLine, trials: list[dict[str, Any]]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = {file for file in cli.home.joinpath("tensorboard").rglob("events.*") if "ruled" in str(file)}
    tags = [EventAccumulator(str(folder)).Reload() for folder in sorted({file.parent for file in files})]
    starts = [each.summary_metadata.get("_hparams_/session_start_info") for each in tags]
    assert len([start for start in starts if start]) == len(trials)
