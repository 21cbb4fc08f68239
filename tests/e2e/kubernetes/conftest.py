"""The command against the cluster that KUBECONFIG names: what is tested on one machine runs here once more."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.domain.catalogues import BUILT_IN
from tests.contract.test_kubernetes_cluster import objects_in
from tests.e2e.command_line import CommandLine
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.processes import processes_of
from tests.servers import S3Server, moto_server
from tests.waiting import wait_until

SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}}
"""What a pod of each flavor asks for: the cluster of a test is small."""


@dataclass(frozen=True, kw_only=True)
class ClusterCommandLine(CommandLine):
    """The command with a home whose workers see a bucket, and nothing of this machine."""

    store: S3Server
    bucket: str

    def place(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def put(self, name: str, text: str) -> None:
        with self.store.client() as client:
            client.put_object(
                Bucket=self.bucket, Key=name, Body=text.encode(), ACL="public-read"
            )  # entry points ask, too

    def read(self, name: str) -> str | None:
        with self.store.client() as client:
            try:
                return client.get_object(Bucket=self.bucket, Key=name)["Body"].read().decode()
            except client.exceptions.NoSuchKey:
                return None

    def go(self, name: str) -> str:
        return f"{self.store.endpoint_url}/{self.bucket}/{name}.go"


@pytest.fixture(scope="session")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace() as made:
        yield made


@pytest.fixture(scope="session")
def store(namespace: TestNamespace) -> Iterator[S3Server]:
    """A store that pods can reach."""
    with moto_server(namespace.this_machine) as server:
        yield server


@pytest.fixture(scope="module")
def cli(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, namespace: TestNamespace, store: S3Server
) -> Iterator[ClusterCommandLine]:
    """The command with a home that the module's tests share. Nothing may be left of it, here or on the cluster."""
    directory: Path = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    bucket = store.make_bucket()
    settings = {
        "MAKERFLOW_CLUSTER": "kubernetes",
        "MAKERFLOW_NAMESPACE": namespace.name,
        "MAKERFLOW_IMAGE": namespace.image,
        "MAKERFLOW_ARTIFACTS": f"s3://{bucket}/artifacts",
    }
    command_line = ClusterCommandLine(directory, settings | store.environment, store=store, bucket=bucket)
    command_line.home.mkdir()
    (command_line.home / "catalogue.yaml").write_text(catalogue(namespace.image))
    yield command_line
    assert processes_of(command_line.home) == []
    wait_until(lambda: objects_in(namespace.name) == [], "the runs' objects to be gone", 60)


def catalogue(image: str) -> str:
    """The built-in flavors and images, as pods of the test's one."""
    container = {"container": image, "container_python": "python"}
    images = [each.model_dump(mode="json") | container for each in BUILT_IN.images]
    flavors = [each.model_dump(mode="json") | {"pod": SMALL} for each in BUILT_IN.flavors]
    return json.dumps({"images": images, "flavors": flavors})  # JSON is YAML, too
