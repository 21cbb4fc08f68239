"""A tuning's trials in TensorBoard's HParams, as its own server answers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrialStatus
from blocks.gateway.board_process import board_command
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.waiting import wait_until

FALLS_AND_RISES = """
import os, sys
x, kind = float(os.environ["EM_HP_X"]), os.environ["EM_HP_KIND"]
if kind == "silent":
    sys.exit()
if kind == "broken":
    sys.exit("broken")
for step, loss in enumerate((x + 3, x, x + 1), 1):
    print(f"step={step} loss={loss} accuracy={1 / (1 + loss)}")
"""


@contextmanager
def hparams(events: Path, directory: Path) -> Iterator[httpx.Client]:
    """The HParams plugin of a TensorBoard as `makerflow up` starts it."""
    socket = directory / "board.sock"
    command = board_command((sys.executable, "-P", "-m", "blocks.gateway.board"), str(events), "", socket)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(socket.exists, 60)
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(transport=transport, base_url="http://board/data/plugin/hparams/", timeout=60) as client:
                yield client
        finally:
            process.kill()


def asked(client: httpx.Client, what: str, question: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(what, json=question)
    found = answer.json() if answer.status_code == 200 else {}
    assert isinstance(found, dict)
    return found


def session_groups(client: httpx.Client, metrics: list[str]) -> list[dict[str, Any]]:
    question = {
        "startIndex": 0,
        "sliceSize": 1000,
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "aggregationType": "AGGREGATION_AVG",
        "colParams": [
            *({"hparam": name, "includeInResult": True} for name in ("x", "y", "kind", "epochs")),
            *({"metric": {"group": "", "tag": tag}, "includeInResult": True} for tag in metrics),
        ],
    }
    return list(asked(client, "session_groups", question).get("sessionGroups", []))


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@pytest.mark.req("TUN-16")
def test_all_trials_are_compared_by_their_hyperparameters_and_objectives(make: MakeTuning, tmp_path: Path) -> None:
    space = ("x=DISCRETE[0.5,2]", "kind=CATEGORICAL[plain,silent,broken]")
    tuning = tuned(make(FALLS_AND_RISES, strategy="GRID", parameters=space, hyperparameters={"epochs": 3}))
    other = tuned(make(name="other", max_trainings=2))
    events = open_platform().settings.home / "tensorboard" / tuning.experiment_id
    metrics = ["loss", "accuracy", "Makerflow/objective"]

    with hparams(events, tmp_path) as client:
        wait_until(lambda: len(session_groups(client, metrics)) == 8, 60)
        experiment = asked(client, "experiment", {"includeMetrics": True})
        groups = {group["name"]: group for group in session_groups(client, metrics)}

    assert {info["name"] for info in experiment["hparamInfos"]} == {"x", "y", "kind", "epochs"}
    assert set(metrics) <= {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {info["name"].get("group", "") for info in experiment["metricInfos"]} == {""}  # all in one column each
    assert set(groups) == {f"t/{n}" for n in range(1, 7)} | {f"other/{n}" for n in (1, 2)}
    assert all(len(group["sessions"]) == 1 for group in groups.values())
    for trial in trials_of(tuning):
        group = groups[f"t/{trial.number}"]
        x, kind = trial.parameters["x"], trial.parameters["kind"]
        assert group["hparams"] == {"x": float(x), "kind": kind, "epochs": 3}
        values = {value["name"]["tag"]: value["value"] for value in group.get("metricValues", [])}
        assert values.get("Makerflow/objective") == trial.objective
        assert values.get("loss") == (
            float(x) + 1 if kind == "plain" else None
        )  # the last value, as TensorBoard has it
    assert set(statuses_of(tuning)) == {TrialStatus.SUCCEEDED, TrialStatus.METRICS_UNAVAILABLE, TrialStatus.FAILED}
    assert all(groups[f"other/{trial.number}"]["hparams"].keys() == {"x", "y"} for trial in trials_of(other))
