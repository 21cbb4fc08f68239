"""What is refused before anything of a run is made."""

import pytest

from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.launching import Launching
from blocks.cluster.kubernetes.manifests import Site
from blocks.cluster.kubernetes.queues import check_queue
from blocks.cluster.kubernetes.view import View
from blocks.domain.errors import InvalidInputError
from tests.unit.kubernetes.memory import MemoryApi
from tests.unit.kubernetes.plans import make_plan

KUEUE = "/apis/kueue.x-k8s.io"
QUEUE = f"{KUEUE}/v1beta2/namespaces/here/localqueues/user-queue"


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def test_a_queue_that_is_there_is_taken(api):
    api.paths = {KUEUE: {"preferredVersion": {"version": "v1beta2"}}, QUEUE: {}}
    check_queue(api, "user-queue")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({}, "the cluster has no Kueue. Install it"),
        ({KUEUE: {"preferredVersion": {"version": "v1beta2"}}}, "no LocalQueue user-queue: .* Make it in .* here"),
    ],
)
def test_a_queue_that_is_not_there_is_refused_before_anything_is_made(api, paths, said):
    api.paths = paths
    site = Site(image="registry.example/makerflow", queue="user-queue")
    with pytest.raises(InvalidInputError, match=f"MAKERFLOW_QUEUE: .*{said}"):
        Launching(api, View(api), site, {}).launch(make_plan(), {})
    assert {verb for verb, _, _ in api.calls} == {"find", "list"}


def test_a_queue_that_we_may_not_see_is_taken_to_be_there(api):
    api.failure = ApiError(403, "Forbidden", "cannot get resource")
    check_queue(api, "user-queue")
