"""The whole platform on a cluster, and what a person does with it there.

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
from pathlib import Path
from typing import Any

import httpx

from tests.integration.kubernetes.cluster import (
    SECRETS,
    changed_kustomization,
    copied_manifests,
    kubectl,
    namespace,
    why_no_cluster,
)
from tests.servers import S3Server
from tests.waiting import wait_for

IMAGES = ("MAKERFLOW_TEST_IMAGE", "MAKERFLOW_TEST_POSTGRES_IMAGE")
RESTRICTED = "pod-security.kubernetes.io/enforce"
READY_SECONDS = 240
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
OWNERS = {"home-makerflow-0": 1000, "data-makerflow-database-0": 999}


def why_not() -> str:
    missing = [name for name in IMAGES if not os.environ.get(name)]
    return why_no_cluster() or (f"{' and '.join(missing)} name no image that the cluster has" if missing else "")


@dataclass(frozen=True)
class Deployed:
    """The platform in a namespace, with the store that its trainings use."""

    namespace: str
    store: S3Server
    bucket: str
    url: str = ""

    @property
    def place(self) -> str:
        """The store's bucket, as a path."""
        return f"obs://{self.store.address}/{self.bucket}"

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return kubectl("-n", self.namespace, *arguments, given=given)

    def makerflow(self, *arguments: str, given: str = "") -> str:
        """What the command says in the runner's container."""
        return self.kubectl("exec", "--stdin", "makerflow-0", "--", "makerflow", *arguments, given=given)

    def ask(self, path: str, body: Any = None, *, signed: bool = True, host: str = "localhost") -> httpx.Response:
        user, _, password = SECRETS["MAKERFLOW_ACCESS_STRING"].partition(":")
        auth = (user, password) if signed else None
        with httpx.Client(base_url=self.url, auth=auth, headers={"host": host}, timeout=30) as client:
            return client.get(path) if body is None else client.post(path, json=body)

    def ask_for(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Ask for a flow run as the UI does; its id."""
        id = self.ask(f"/api/deployments/name/{deployment}/makerflow").json()["id"]
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        made = self.ask(f"/api/deployments/{id}/create_flow_run", asked)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def run(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The same, and wait for its end; the flow run."""
        id = self.ask_for(deployment, parameters)

        def over() -> dict[str, Any] | None:
            run: dict[str, Any] = self.ask(f"/api/flow_runs/{id}").json()
            return run if run["state"]["type"] in OVER else None

        return wait_for(over, f"the end of {deployment}")

    def flow_runs(self, name: str) -> list[str]:
        """The states of the flow runs of this name, the oldest first."""
        found = self.ask("/api/flow_runs/filter", {"sort": "START_TIME_ASC", "flow_runs": {"name": {"any_": [name]}}})
        return [run["state"]["type"] for run in found.json()]

    def runner(self) -> dict[str, Any]:
        """The state of the runner's container."""
        pod = json.loads(self.kubectl("get", "pod", "makerflow-0", "--output=json"))
        return next(status for status in pod["status"]["containerStatuses"] if status["name"] == "runner")

    def kill_runner(self) -> int:
        """End its first process, and with it at once all others of its container; how often it was started before."""
        before = int(self.runner()["restartCount"])
        self.kubectl("exec", "makerflow-0", "--", "python", "-c", "import os; os.kill(1, 15)")
        return before

    def wait_until_ready(self) -> None:
        for name in ("makerflow-database", "makerflow"):
            self.kubectl("rollout", "status", f"statefulset/{name}", f"--timeout={READY_SECONDS}s")


@contextmanager
def deployed_platform(store: S3Server, directory: Path) -> Iterator[Deployed]:
    """The platform in a new namespace."""
    image, postgres = (os.environ[name] for name in IMAGES)
    bucket = store.make_bucket()
    artifacts = f"obs://{store.address}/{bucket}/artifacts"
    manifests = copied_manifests(directory, MAKERFLOW_IMAGE=image, MAKERFLOW_ARTIFACTS=artifacts)
    (manifests / "catalogue.yaml").write_text(json.dumps(_catalogue(image)))  # JSON is YAML, too
    with namespace() as name:
        _make_volumes(name, image)
        kubectl("label", "namespace", name, f"{RESTRICTED}=restricted")
        changed_kustomization(manifests, name, {"postgres": postgres})
        kubectl("apply", "-k", str(manifests))
        deployed = Deployed(name, store, bucket)
        deployed.wait_until_ready()
        yield deployed


def _catalogue(image: str) -> dict[str, Any]:
    own = {"name": "own", "container": image, "container_python": "python"}
    small = {"name": "small", "vcpus": 1, "memory_mib": 256, "pod": {"requests": {"cpu": "50m"}}}
    return {"images": [own], "flavors": [small]}


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


@contextmanager
def forwarded(namespace: str) -> Iterator[str]:
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
