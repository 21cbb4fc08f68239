from collections.abc import Iterator

import pytest

from blocks.cluster.base import Secrets, Selector
from blocks.cluster.kubernetes.cluster import KubernetesCluster
from blocks.cluster.kubernetes.manifests import Site
from blocks.cluster.kubernetes.names import job_name
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedInput, PodShape, Resources, RunHandle, RunImage, RunPlan
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage
from tests.contract.cluster_contract import BEGINNING, ClusterContract, ClusterSite
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.servers import S3Server, moto_server
from tests.waiting import wait_until

STORE = "store"


class _WithStore(KubernetesCluster):
    """Every plan of these tests reads its source from the tests' own store."""

    def __init__(self, site: Site, namespace: str, connection: Connection) -> None:
        super().__init__(site, namespace)
        self._secrets = {STORE: connection.to_mapping()}

    def launch(self, plan: RunPlan, secrets: Secrets | None = None) -> RunHandle:
        return super().launch(plan, secrets or self._secrets)


class KubernetesSite(ClusterSite):
    """A namespace with a quota of a fifth of a CPU, in which a vCPU asks for a tenth; its pods can reach a store."""

    share = 0.1

    def __init__(self, namespace: TestNamespace, server: S3Server) -> None:
        self._namespace, self._server = namespace, server
        self._bucket = server.make_bucket()
        self.connection = Connection(
            server.endpoint_url, server.access_key_id, server.secret_access_key, region=server.region
        )
        self._count = 0

    def connect(self) -> KubernetesCluster:
        return _WithStore(Site(image=self._namespace.image), self._namespace.name, self.connection)

    @property
    def bucket_path(self) -> str:
        """Where outputs of tests go."""
        return f"obs://{self._server.address}/{self._bucket}"

    def read(self, path: str) -> bytes:
        """An object of the tests' store."""
        with self._server.client() as client:
            place = StoragePath.parse(path)
            return client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()

    def plan(self, program: str, **changes: object) -> RunPlan:
        self._count += 1
        with self._server.client() as client:
            client.put_object(Bucket=self._bucket, Key=f"{self._count}/main.py", Body=program.encode())
        path = StoragePath.parse(f"obs://{self._server.address}/{self._bucket}/{self._count}")
        objects = tuple(open_storage(path, self.connection).plan(path))
        plan = {
            "run_id": f"run-{self._count}",
            "created": BEGINNING,
            "workers": 1,
            "resources": Resources(vcpus=1, memory_mib=256),
            "image": RunImage(name="this", python="3.11", container=self._namespace.image, container_python="python"),
            "entry_point": "main.py",
            "inputs": [PlannedInput(kind="source", path=str(path), connection=STORE, objects=objects)],
            "storage_mib": 64,
            "time_limit_seconds": 600,
        }
        made = RunPlan.model_validate({**plan, **changes})
        asked = {"cpu": f"{round(made.resources.vcpus * self.share * 1000) - 10}m"}
        return made.model_copy(update={"pod": PodShape(requests=asked)})

    def kill_what_runs(self, handle: RunHandle) -> None:
        from kubernetes import client, config

        config.load_kube_config()
        body = client.V1DeleteOptions(propagation_policy="Orphan")
        client.BatchV1Api().delete_namespaced_job(job_name(handle.run_id, 1), self._namespace.name, body=body)


def swept_site(namespace: TestNamespace, store: S3Server) -> Iterator[KubernetesSite]:
    """A site for one test; afterwards its runs are removed, and nothing is left of them."""
    site = KubernetesSite(namespace, store)
    yield site
    cluster = site.connect()
    for state in cluster.find(Selector()):
        cluster.stop(state.handle, 0)
        cluster.remove(state.handle)
    wait_until(lambda: objects_in(namespace.name) == [], "the runs' objects to be gone", 60)


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace({"requests.cpu": "200m"}) as made:
        yield made


@pytest.fixture(scope="module")
def store(namespace: TestNamespace) -> Iterator[S3Server]:
    with moto_server(namespace.this_machine) as server:
        yield server


@pytest.mark.kubernetes
class TestKubernetesCluster(ClusterContract):
    @pytest.fixture
    def site(self, namespace: TestNamespace, store: S3Server) -> Iterator[KubernetesSite]:
        yield from swept_site(namespace, store)


def objects_in(namespace: str) -> list[str]:
    """What is left of runs."""
    from kubernetes import client, config

    config.load_kube_config()
    core, batch = client.CoreV1Api(), client.BatchV1Api()
    selector = {"label_selector": "app.kubernetes.io/managed-by=makerflow"}
    lists = (
        core.list_namespaced_config_map,
        batch.list_namespaced_job,
        core.list_namespaced_pod,
        core.list_namespaced_secret,
        core.list_namespaced_service,
    )
    return [item.metadata.name for each in lists for item in each(namespace, **selector).items]
