"""The Kubernetes that tests use: the one that KUBECONFIG names, in a namespace of their own."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.waiting import wait_until

IMAGE = "MAKERFLOW_TEST_IMAGE"
"""The variable that names the platform's image, which the cluster can pull or has; the entry points of tests run in it,
too."""


@dataclass(frozen=True)
class TestNamespace:
    """A namespace that nobody else uses, and what tests need beside it."""

    __test__ = False
    name: str
    image: str
    this_machine: str


def require_kubernetes() -> str:
    """The platform's image; the test is skipped where there is no cluster, or no image."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no Kubernetes")
    if not os.environ.get(IMAGE):
        pytest.skip(f"{IMAGE} names no image of the platform that the cluster has")
    return os.environ[IMAGE]


@contextmanager
def kubernetes_namespace(quota: dict[str, str] | None = None) -> Iterator[TestNamespace]:
    """Made for the tests, and deleted with all that is in it."""
    from kubernetes import client, config

    image = require_kubernetes()
    config.load_kube_config()
    core = client.CoreV1Api()
    name = f"makerflow-test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    try:
        wait_until(lambda: _has_account(core, name), "the namespace's service account", 30)
        if quota:
            core.create_namespaced_resource_quota(name, {"metadata": {"name": "room"}, "spec": {"hard": quota}})
        yield TestNamespace(name, image, address_towards(client.Configuration.get_default_copy().host))
    finally:
        core.delete_namespace(name)
        core.api_client.close()


def _has_account(core: object, namespace: str) -> bool:
    accounts = core.list_namespaced_service_account(namespace).items  # type: ignore[attr-defined]
    return any(account.metadata.name == "default" for account in accounts)


def address_towards(url: str) -> str:
    """This machine's address on the way to the cluster, by which pods can call it back."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 443))
        return str(probe.getsockname()[0])
