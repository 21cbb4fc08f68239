"""The platform on a cluster, deployed once for all tests of this folder that use it; and a site for runs without it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blocks.cluster.kubernetes.cluster import KubernetesCluster
from tests.contract.test_kubernetes_cluster import KubernetesSite, swept_site
from tests.integration.kubernetes.cluster import kubectl
from tests.integration.kubernetes.deployed import Deployed, deployed_platform, forwarded
from tests.kubernetes import TestNamespace, address_towards
from tests.servers import S3Server, moto_server


@pytest.fixture(scope="session")
def _deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    directory = tmp_path_factory.mktemp("platform")
    server = kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    with moto_server(address_towards(server)) as store, deployed_platform(store, directory) as platform:
        yield platform


@pytest.fixture(scope="module")
def deployed(_deployed: Deployed) -> Iterator[Deployed]:
    """The same for one module, which may delete the pod: what `kubectl port-forward` forwards to ends with it."""
    with forwarded(_deployed.namespace) as url:
        yield replace(_deployed, url=url)


@pytest.fixture(scope="module")
def store(namespace: TestNamespace) -> Iterator[S3Server]:
    """A store that the pods of the module's own namespace can reach."""
    with moto_server(namespace.this_machine) as server:
        yield server


@pytest.fixture
def site(namespace: TestNamespace, store: S3Server) -> Iterator[KubernetesSite]:
    """Swept afterwards: nothing is left of the test's runs."""
    yield from swept_site(namespace, store)


@pytest.fixture
def cluster(site: KubernetesSite) -> KubernetesCluster:
    """A client of it."""
    return site.connect()
