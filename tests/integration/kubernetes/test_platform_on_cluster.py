"""The whole platform on a real cluster: PostgreSQL, the workflow server, the front door, the runner.

MAKERFLOW_TEST_IMAGE and MAKERFLOW_TEST_POSTGRES_IMAGE name images that the cluster has or can pull: the platform's
(`python -m deployments.kubernetes.image`) and PostgreSQL's, or that of `postgres_image.py` beside this file.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.integration.kubernetes.cluster import (
    SECRETS,
    changed_kustomization,
    copied_manifests,
    kubectl,
    namespace,
    why_no_cluster,
)
from tests.waiting import wait_for, wait_until

IMAGES = ("MAKERFLOW_TEST_IMAGE", "MAKERFLOW_TEST_POSTGRES_IMAGE")
RESTRICTED = "pod-security.kubernetes.io/enforce"
READY_SECONDS = 240
OWNERS = {"home-makerflow-0": 1000, "data-makerflow-database-0": 999}


def why_not() -> str:
    missing = [name for name in IMAGES if not os.environ.get(name)]
    return why_no_cluster() or (f"{' and '.join(missing)} name no image that the cluster has" if missing else "")


pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is all of it"),
]


@dataclass(frozen=True)
class Deployed:
    """The platform in a namespace."""

    namespace: str
    url: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return kubectl("-n", self.namespace, *arguments, given=given)

    def ask(self, path: str, body: Any = None, *, signed: bool = True, host: str = "localhost") -> httpx.Response:
        user, _, password = SECRETS["MAKERFLOW_ACCESS_STRING"].partition(":")
        auth = (user, password) if signed else None
        with httpx.Client(base_url=self.url, auth=auth, headers={"host": host}, timeout=30) as client:
            return client.get(path) if body is None else client.post(path, json=body)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    image, postgres = (os.environ[name] for name in IMAGES)
    manifests = copied_manifests(tmp_path_factory.mktemp("platform"), MAKERFLOW_IMAGE=image)
    with namespace() as name:
        _make_volumes(name, image)
        kubectl("label", "namespace", name, f"{RESTRICTED}=restricted")
        changed_kustomization(manifests, name, {"postgres": postgres})
        kubectl("apply", "-k", str(manifests))
        _wait_until_ready(name)
        with _forwarded(name) as url:
            yield Deployed(name, url)


def _make_volumes(namespace: str, image: str) -> None:
    """Volumes that belong to their users, also where a cluster pays no heed to `fsGroup`: before root is locked out."""
    claims = [_claim(name) for name in OWNERS]
    chown = "; ".join(f"os.chown('/{name}', {user}, {user})" for name, user in OWNERS.items())
    spec = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "owner",
                "image": image,
                "command": ["python", "-c", f"import os; {chown}"],
                "securityContext": {"runAsUser": 0},
                "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in OWNERS],
            }
        ],
        "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in OWNERS],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "owner"}, "spec": spec}
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*claims, pod]})
    kubectl("-n", namespace, "apply", "-f", "-", given=objects)
    kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/owner", "--timeout=120s")
    kubectl("-n", namespace, "delete", "pod", "owner")


def _claim(name: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _wait_until_ready(namespace: str) -> None:
    for name in ("makerflow-database", "makerflow"):
        kubectl("-n", namespace, "rollout", "status", f"statefulset/{name}", f"--timeout={READY_SECONDS}s")


@contextmanager
def _forwarded(namespace: str) -> Iterator[str]:
    """The front door on this machine's loopback, as a person would try it first."""
    command = ["kubectl", "-n", namespace, "port-forward", "service/makerflow", ":4200", "--address=127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert found, "kubectl port-forward says no address"
            yield f"http://{found[0]}"
        finally:
            process.terminate()


def _run_flow(deployed: Deployed, deployment: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Ask for a flow run as the UI does, and give it when it is over."""
    id = deployed.ask(f"/api/deployments/name/{deployment}/makerflow").json()["id"]
    asked = {"parameters": {"spec": spec}, "state": {"type": "SCHEDULED"}}
    made = deployed.ask(f"/api/deployments/{id}/create_flow_run", asked)
    assert made.status_code == 201, made.text

    def over() -> dict[str, Any] | None:
        run: dict[str, Any] = deployed.ask(f"/api/flow_runs/{made.json()['id']}").json()
        return run if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    return wait_for(over, f"the end of {deployment}")


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
    run = _run_flow(deployed, "create-experiment", {"name": "first"})
    assert run["state"]["type"] == "COMPLETED", run["state"]
    listed = json.loads(deployed.kubectl("exec", "makerflow-0", "--", "makerflow", "experiment", "list", "--json"))
    assert "first" in json.dumps(listed)


def test_a_tensorboard_is_started_when_it_is_opened(deployed: Deployed) -> None:
    assert _run_flow(deployed, "create-experiment", {"name": "shown"})["state"]["type"] == "COMPLETED"
    listed = json.loads(deployed.kubectl("exec", "makerflow-0", "--", "makerflow", "experiment", "list", "--json"))
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
    deployed.kubectl("exec", "makerflow-0", "--", "python", "-c", "import os; os.kill(1, 15)")

    def runner() -> dict[str, Any]:
        pod = json.loads(deployed.kubectl("get", "pod", "makerflow-0", "--output=json"))
        assert deployed.ask("/api/health").status_code == 200
        return next(status for status in pod["status"]["containerStatuses"] if status["name"] == "runner")

    wait_until(lambda: runner()["restartCount"] == 1 and bool(runner()["ready"]), "the runner", READY_SECONDS)
    assert _run_flow(deployed, "create-experiment", {"name": "second"})["state"]["type"] == "COMPLETED"


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
    _wait_until_ready(deployed.namespace)
    assert deployed.kubectl(*read) == before
    assert "first" in deployed.kubectl("exec", "makerflow-0", "--", "makerflow", "experiment", "list")
