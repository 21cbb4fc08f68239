"""The platform on a cluster trains and tunes there, by its own account, and whatever happens to it meanwhile."""

import json
from typing import Any

import pytest

from tests.contract.test_kubernetes_cluster import objects_in
from tests.integration.kubernetes.deployed import READY_SECONDS, Deployed, why_not
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes platform"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is all of it"),
]

STEPS = 20
TRIALS = 4
PARALLEL = 2
WORKERS = 2
NAMES = {"training": "outlasts", "tuning": "outlasts-too"}
PROGRAM = f"""
import os, sys, time, urllib.error, urllib.request
from pathlib import Path
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for step in range(1, {STEPS} + 1):
    print(f"step={{step}} loss={{float(given['--lr']) / step:.6f}}", flush=True)
    while step == {STEPS} // 2:
        try:
            urllib.request.urlopen(given["--until"]).close()
            break
        except urllib.error.HTTPError:
            time.sleep(0.2)
Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("the model")
"""
"""Stays half-way until there is an object at a URL."""


def settings(deployed: Deployed, name: str, workers: int, hyperparameters: dict[str, str]) -> dict[str, Any]:
    """As the forms of the workflow UI send them."""
    until = {"until": f"{deployed.store.endpoint_url}/{deployed.bucket}/go"}
    given = [{"name": key, "value": value} for key, value in (hyperparameters | until).items()]
    return {
        "name": name,
        "experiment": "on-cluster",
        "algorithm": {"path": f"{deployed.place}/code", "entry_point": "main.py", "hyperparameters": given},
        "instances": {"image": "own", "flavor": "small", "workers": workers},
        "limits": {"storage_gb": 10, "log_management": True},
    }


def made_pods(deployed: Deployed) -> list[str]:
    """Every pod that a Job has made, also those that are gone: by what the Jobs' controller has told."""
    told = deployed.kubectl("get", "events", "--field-selector=reason=SuccessfulCreate", "--output=json")
    events = json.loads(told)["items"]
    return [each["message"] for each in events if each["involvedObject"]["kind"] == "Job"]


def running_pods(deployed: Deployed) -> list[str]:
    selector = ("--selector=app.kubernetes.io/managed-by=makerflow", "--field-selector=status.phase=Running")
    return deployed.kubectl("get", "pods", *selector, "--output=name").split()


@pytest.mark.req("TRN-07", "TUN-05", "COM-04")
def test_what_runs_outlasts_the_runner_and_the_next_one_goes_on_without_repeating_anything(deployed: Deployed) -> None:
    with deployed.store.client() as client:
        client.put_object(Bucket=deployed.bucket, Key="code/main.py", Body=PROGRAM.encode())
    deployed.makerflow(
        "connection", "set", deployed.store.endpoint_url, "--access-key-id", "tester", given="a-secret-of-a-test\n"
    )
    deployed.ask_for("create-training", {"spec": settings(deployed, NAMES["training"], WORKERS, {"lr": "1"})})
    search = {"strategy": "RANDOM", "parameters": [{"name": "lr", "type": "DOUBLE", "min": "0.1", "max": "1"}]}
    tuning = settings(deployed, NAMES["tuning"], 1, {}) | {
        "search": search,
        "objective": {"metric": "loss", "type": "MINIMIZE"},
        "trainings": {"max_trainings": TRIALS, "parallel_trainings": PARALLEL},
    }
    deployed.ask_for("create-tuning", {"spec": tuning})
    wait_until(lambda: len(running_pods(deployed)) == WORKERS + PARALLEL, "all workers to run", READY_SECONDS)
    running = set(running_pods(deployed))

    deployed.kill_runner()
    for name in NAMES.values():
        _wait_until_runs_are(deployed, name, "CRASHED", "RUNNING")
    assert set(running_pods(deployed)) == running
    with deployed.store.client() as client:
        client.put_object(Bucket=deployed.bucket, Key="go", Body=b"", ACL="public-read")
    for name in NAMES.values():
        _wait_until_runs_are(deployed, name, "CRASHED", "COMPLETED")

    assert len(made_pods(deployed)) == WORKERS + TRIALS
    _check_training(deployed)
    trials = json.loads(deployed.makerflow("tuning", "trials", NAMES["tuning"], "--json"))
    assert [trial["status"] for trial in trials] == ["SUCCEEDED"] * TRIALS

    for kind, name in NAMES.items():
        assert deployed.run(f"delete-{kind}", {"key": name})["state"]["type"] == "COMPLETED"
    assert objects_in(deployed.namespace) == []


def _wait_until_runs_are(deployed: Deployed, name: str, *states: str) -> None:
    """Those of the flow runs of that name, the oldest first."""
    wait_until(lambda: deployed.flow_runs(name) == [*states], f"the flow runs of {name} to be {states}", READY_SECONDS)


def _check_training(deployed: Deployed) -> None:
    """It has each step once, in its metric and in each worker's lines of the log store, and its model."""
    name, steps = NAMES["training"], list(range(1, STEPS + 1))
    assert json.loads(deployed.makerflow("training", "show", name, "--json"))["status"] == "COMPLETE"
    metrics = json.loads(deployed.makerflow("training", "metrics", name, "--json"))["metrics"]
    assert [point["step"] for point in metrics["loss"]["points"]] == steps
    for rank in range(WORKERS):
        query = f"trainingName:{name} AND rank:{rank} AND step"
        found = json.loads(deployed.makerflow("logs", "search", query, "--json"))["items"]
        assert [line["body"] for line in found] == [f"step={step} loss={1 / step:.6f}" for step in steps]
    with deployed.store.client() as client:
        client.head_object(Bucket=deployed.bucket, Key=f"artifacts/{name}/model/model.txt")
