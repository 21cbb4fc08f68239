"""NAS on PersistentVolumeClaims, and the cache of datasets on a node, as real pods have them."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster.base import Secrets
from blocks.cluster.kubernetes.cluster import KubernetesCluster
from blocks.cluster.kubernetes.manifests import Site, nas_directory
from blocks.domain.paths import StoragePath
from blocks.domain.plan import ExitCause, PlannedInput, PlannedOutput, RunEvent, RunHandle, RunPlan
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage
from tests.contract.cluster_contract import texts, until, until_over
from tests.contract.test_kubernetes_cluster import STORE, KubernetesSite
from tests.integration.kubernetes.cluster import kubectl
from tests.kubernetes import TestNamespace, kubernetes_namespace

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]

USER = 1000
NAS = "nas1"
ENFORCED = "pod-security.kubernetes.io/enforce"
AT_ONCE = 6
PART_BYTES = 2 << 20
PARTS = 5
READS_AND_WRITES = """
import os
from pathlib import Path
data = Path(os.environ["EM_DATASET_TRAIN"], "part.csv").read_text()
print("read", data, flush=True)
Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("of " + data)
Path(os.environ["EM_CHECKPOINT_DIR"], "1.txt").write_text("checkpoint")
"""
COUNTS = """
import os
from pathlib import Path
print(sum(file.stat().st_size for file in Path(os.environ["EM_DATASET_TRAIN"]).iterdir()))
"""


@dataclass(frozen=True)
class Volumes:
    """Claims of a namespace that are bound to directories which pods and this machine see."""

    namespace: str
    directory: Path

    def make(self, name: str, owner: int = USER) -> Path:
        """The directory of a new claim; `owner` alone may write to it."""
        directory = self.directory / name
        directory.mkdir()
        os.chown(directory, owner, owner)
        where = {"path": str(directory), "type": "Directory"}
        volume = _of_volume({"claimRef": {"namespace": self.namespace, "name": name}, "hostPath": where})
        _create("PersistentVolume", {"name": self._volume(name)}, volume)
        self.claim(name, self._volume(name))
        return directory

    def claim(self, name: str, volume: str) -> None:
        """Make a claim of that volume, which need not be there."""
        asked = {"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", **asked}
        _create("PersistentVolumeClaim", {"name": name, "namespace": self.namespace}, spec)

    def remove(self) -> None:
        names = [self._volume(directory.name) for directory in self.directory.iterdir()]
        if names:
            kubectl("delete", "persistentvolume", *names, "--wait=false")

    def _volume(self, name: str) -> str:
        return f"{self.namespace}-{name}"


def _of_volume(more: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"persistentVolumeReclaimPolicy": "Retain", "storageClassName": ""}
    return {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], **kept, **more}


def _create(kind: str, metadata: Mapping[str, str], spec: Mapping[str, Any]) -> None:
    document = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
    kubectl("create", "-f", "-", given=json.dumps(document))


class _Cluster(KubernetesCluster):
    """Every plan of these tests reads its source from the tests' own store, and some use a NAS."""

    def __init__(self, site: KubernetesSite, namespace: TestNamespace, **settings: Any) -> None:
        super().__init__(Site(image=namespace.image, **settings), namespace.name)
        nas = Connection(directory=nas_directory(NAS))
        self._secrets = {STORE: site.connection.to_mapping(), NAS: nas.to_mapping()}

    def launch(self, plan: RunPlan, secrets: Secrets | None = None) -> RunHandle:
        return super().launch(plan, secrets or self._secrets)


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace() as made:
        nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        if any(node["status"]["nodeInfo"]["bootID"] != boot for node in nodes) or os.geteuid() != 0:
            pytest.skip("the nodes do not see the directories of this machine, or we may not give them away")
        yield made


@pytest.fixture(scope="module")
def volumes(namespace: TestNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    made = Volumes(namespace.name, tmp_path_factory.mktemp("volumes"))
    yield made
    made.remove()


def on_nas(place: str) -> StoragePath:
    return StoragePath.parse(f"nas://{NAS}:/{place}")


def with_outputs(plan: RunPlan, *kinds: str) -> RunPlan:
    outputs = [PlannedOutput(kind=kind, path=str(on_nas(f"out/{kind}")), connection=NAS) for kind in kinds]
    return plan.model_copy(update={"outputs": tuple(outputs), "run_id": unique()})


def with_dataset(plan: RunPlan, path: StoragePath, name: str, opened: Connection) -> RunPlan:
    objects = tuple(open_storage(path, opened).plan(path))
    dataset = PlannedInput(kind="dataset", name="train", path=str(path), connection=name, objects=objects)
    return plan.model_copy(update={"inputs": (*plan.inputs, dataset), "run_id": unique()})


def unique() -> str:
    return f"run-{uuid.uuid4().hex[:8]}"


@pytest.mark.req("TRN-06", "TRN-08")
def test_a_dataset_is_read_from_a_claim_and_outputs_are_written_to_it(site, volumes, namespace):
    shared = volumes.make("shared")
    (shared / "data").mkdir()
    (shared / "data" / "part.csv").write_text("a,b")
    plan = with_outputs(site.plan(READS_AND_WRITES), "model", "checkpoint", "log")
    plan = with_dataset(plan, on_nas("data"), NAS, Connection(directory=str(shared)))
    cluster = _Cluster(site, namespace, nas_volumes={NAS: "claim:shared"})
    handle = cluster.launch(plan)
    assert until_over(cluster, handle)[-1].cause is ExitCause.OK
    written = {str(file.relative_to(shared)): file.read_text() for file in (shared / "out").rglob("*.*")}
    assert written == {
        "out/model/model.txt": "of a,b",
        "out/checkpoint/1.txt": "checkpoint",
        "out/log/output.log": "read a,b\n",
    }
    assert (shared / "out" / "model" / "model.txt").stat().st_uid == USER


@pytest.mark.req("COM-06")
def test_what_the_user_of_pods_may_not_write_to_is_refused_before_the_entry_point_starts(site, volumes, namespace):
    volumes.make("locked", owner=0)
    by_nas = _Cluster(site, namespace, nas_volumes={NAS: "claim:locked"})
    by_cache = _Cluster(site, namespace, node_cache="claim:locked", cache_bytes=1 << 30)
    denies = by_nas.launch(with_outputs(site.plan(COUNTS), "model"))
    refuses = by_cache.launch(site.plan(COUNTS))
    denied, unusable = until_over(by_nas, denies), until_over(by_cache, refuses)
    assert {event.kind for event in (*denied, *unusable)}.isdisjoint({"started", "restarted"})
    assert denied[-1].cause is ExitCause.OUTPUT_DENIED
    assert "nas://nas1:/out/model" in denied[-1].message
    assert "Let the user 1000, as whom this runs (on Kubernetes: MAKERFLOW_RUN_AS_USER), write it" in denied[-1].message
    assert unusable[-1].cause is ExitCause.LAUNCHER_ERROR
    assert "On each node: `install -d -o 1000 DIRECTORY`" in unusable[-1].message


@pytest.mark.parametrize(
    ("claim", "said"),
    [("absent", "There is no PersistentVolumeClaim absent"), ("pending", "PersistentVolumeClaim is not bound to one")],
)
def test_a_run_without_its_volume_says_what_it_waits_for_and_can_be_stopped(site, volumes, namespace, claim, said):
    if claim == "pending":
        volumes.claim(claim, "no-such-volume")
    cluster = _Cluster(site, namespace, nas_volumes={NAS: f"claim:{claim}"})
    handle = cluster.launch(with_outputs(site.plan(COUNTS), "model"))
    until(cluster, handle, lambda state: said in state.detail)
    cluster.stop(handle, 1)
    assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED


def test_runs_that_begin_together_on_a_node_download_their_dataset_once(site, store, volumes, namespace):
    volumes.make("node-cache")
    bucket = store.make_bucket({f"data/{n}": os.urandom(PART_BYTES) for n in range(PARTS)})
    place = StoragePath.parse(f"obs://{store.address}/{bucket}/data")
    small = site.plan(COUNTS, resources={"vcpus": 0.5, "memory_mib": 128})
    plans = [with_dataset(small, place, STORE, site.connection) for _ in range(AT_ONCE)]
    cluster = _Cluster(site, namespace, node_cache="claim:node-cache", cache_bytes=1 << 30)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        handles = list(pool.map(cluster.launch, plans))
    ended = [until_over(cluster, handle) for handle in handles]
    assert [events[-1].cause for events in ended] == [ExitCause.OK] * AT_ONCE
    assert [texts(cluster, handle) for handle in handles] == [[str(PARTS * PART_BYTES)]] * AT_ONCE
    assert [store.count(f"GET /{bucket}/data/{n}") for n in range(PARTS)] == [1] * PARTS
    assert downloaded_bytes(ended) == PARTS * PART_BYTES + len(COUNTS)


def downloaded_bytes(runs: list[list[RunEvent]]) -> int:
    """As the runs themselves tell."""
    last = [[event for event in events if event.kind == "staging" and event.finished][-1] for events in runs]
    return sum(event.total_bytes - event.cached_bytes for event in last)


def test_a_directory_of_nodes_is_refused_by_a_restricted_namespace_and_used_by_another(site, volumes, namespace):
    directory = volumes.make("directory")
    cluster = _Cluster(site, namespace, node_cache=str(directory), cache_bytes=1 << 30)
    handle = cluster.launch(
        site.plan(COUNTS.replace("EM_DATASET_TRAIN", "EM_SOURCE_DIR")).model_copy(update={"run_id": unique()})
    )
    until(cluster, handle, lambda state: "Set MAKERFLOW_NODE_CACHE to a claim" in state.detail)
    kubectl("label", "--overwrite", "namespace", namespace.name, f"{ENFORCED}=privileged")
    assert until_over(cluster, handle)[-1].cause is ExitCause.OK
    assert [*(directory / "objects").iterdir()] != []
