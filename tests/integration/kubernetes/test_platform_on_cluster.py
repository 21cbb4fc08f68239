"""The whole platform on a real cluster: PostgreSQL, the workflow server, the front door, the runner."""

import json

import pytest

from tests.integration.kubernetes.cluster import SECRETS, kubectl
from tests.integration.kubernetes.deployed import READY_SECONDS, RESTRICTED, Deployed, why_not
from tests.waiting import wait_for, wait_until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes platform"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is all of it"),
]


def test_every_part_is_ready_under_restricted_pod_security(deployed: Deployed) -> None:
    labels = json.loads(kubectl("get", "namespace", deployed.namespace, "--output=json"))["metadata"]["labels"]
    assert labels[RESTRICTED] == "restricted"
    pods = json.loads(deployed.kubectl("get", "pods", "--output=json"))["items"]
    ready = {status["name"]: status["ready"] for pod in pods for status in pod["status"]["containerStatuses"]}
    assert ready == dict.fromkeys(["prefect", "access", "front-door", "runner", "postgresql"], True)


def test_the_front_door_lets_in_who_has_the_access_string_and_answers_to_its_names_alone(deployed: Deployed) -> None:
    assert deployed.ask("/", signed=False).status_code == 401
    assert deployed.ask("/api/health", signed=False).status_code == 401
    assert deployed.ask("/api/ready").json() == {"message": "OK"}
    assert "<html" in deployed.ask("/").text
    assert deployed.ask("/", host="makerflow").status_code == 200  # the service's name, which the settings allow
    assert deployed.ask("/", host="elsewhere.example.com").status_code == 421


@pytest.mark.req("COM-04")
def test_a_flow_run_that_is_asked_for_by_the_api_is_run_by_the_runner(deployed: Deployed) -> None:
    run = deployed.run("create-experiment", {"spec": {"name": "first"}})
    assert run["state"]["type"] == "COMPLETED", run["state"]
    listed = json.loads(deployed.makerflow("experiment", "list", "--json"))
    assert "first" in json.dumps(listed)


def test_a_tensorboard_is_started_when_it_is_opened(deployed: Deployed) -> None:
    assert deployed.run("create-experiment", {"spec": {"name": "shown"}})["state"]["type"] == "COMPLETED"
    listed = json.loads(deployed.makerflow("experiment", "list", "--json"))
    (id,) = [each["id"] for each in listed["items"] if each["name"] == "shown"]
    page = wait_for(lambda: _page(deployed, f"/tensorboard/{id}/"), "the TensorBoard")
    assert "<title>TensorBoard</title>" in page


def _page(deployed: Deployed, path: str) -> str | None:
    """What is there; None while the way there is being made."""
    found = deployed.ask(path)
    return found.text if found.status_code == 200 else None


def test_the_doctor_finds_nothing_wrong_with_the_cluster_and_the_runner_s_rights_on_it(deployed: Deployed) -> None:
    # Its exit code tells of other things too.
    asked = "import subprocess; print(subprocess.run(['makerflow', 'doctor', '--json'], stdout=-1, text=True).stdout)"
    found = json.loads(deployed.kubectl("exec", "makerflow-0", "--", "python", "-c", asked))["findings"]
    of_cluster = {each["check"]: each for each in found if each["check"].startswith("cluster")}
    assert {check: each["level"] for check, each in of_cluster.items()} == {
        "cluster": "ok",
        "cluster image": "ok",
        "cluster rights": "ok",
        "cluster namespace": "ok",
    }
    assert "this pod's account" in of_cluster["cluster"]["message"]
    assert deployed.namespace in of_cluster["cluster"]["message"]


def test_the_runner_comes_back_alone_and_the_front_door_answers_meanwhile(deployed: Deployed) -> None:
    before = deployed.kill_runner()

    def is_back() -> bool:
        runner = deployed.runner()
        assert deployed.ask("/api/health").status_code == 200
        return bool(runner["restartCount"] > before and runner["ready"])

    wait_until(is_back, "the runner", READY_SECONDS)
    assert deployed.run("create-experiment", {"spec": {"name": "second"}})["state"]["type"] == "COMPLETED"


def test_no_log_has_a_secret(deployed: Deployed) -> None:
    secrets = [value for value in SECRETS.values() if value] + [SECRETS["MAKERFLOW_ACCESS_STRING"].partition(":")[2]]
    for pod in ("makerflow-0", "makerflow-database-0"):
        said = deployed.kubectl("logs", pod, "--all-containers")
        assert said
        assert not [secret for secret in secrets if secret in said]


def test_a_new_pod_has_what_the_one_before_it_had(deployed: Deployed) -> None:
    read = ("exec", "makerflow-0", "--", "python", "-c", "print(open('/var/lib/makerflow/up/token').read())")
    before = deployed.kubectl(*read)
    deployed.kubectl("delete", "pod", "makerflow-0")
    deployed.wait_until_ready()
    assert deployed.kubectl(*read) == before
    assert "first" in deployed.makerflow("experiment", "list")
