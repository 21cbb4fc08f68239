"""What is refused before anything of a run is made."""

import pytest

from blocks.cluster.kubernetes import launching
from blocks.cluster.kubernetes.api import ApiError, NamespaceGoneError
from blocks.cluster.kubernetes.launching import Launching
from blocks.cluster.kubernetes.manifests import Site, record_manifest
from blocks.cluster.kubernetes.names import job_name, name_of
from blocks.cluster.kubernetes.queues import check_queue
from blocks.cluster.kubernetes.record import RunRecord, record_of
from blocks.cluster.kubernetes.stores import check_stores
from blocks.cluster.kubernetes.view import JOBS, RECORDS, View
from blocks.domain.errors import InvalidInputError, PlaceGoneError
from blocks.domain.plan import InputKind, PlannedInput, PlannedOutput
from tests.unit.kubernetes.memory import MemoryApi, job_of
from tests.unit.kubernetes.plans import make_plan

KUEUE = "/apis/kueue.x-k8s.io"
SITE = Site(image="registry.example/makerflow", queue="user-queue")
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
def test_a_queue_that_is_not_there_is_refused_and_nothing_is_left(api, paths, said):
    api.paths = paths
    with pytest.raises(InvalidInputError, match=f"MAKERFLOW_QUEUE: .*{said}"):
        Launching(api, View(api), SITE, {}).launch(make_plan(), {})
    assert not any(api.list(kind, {})["items"] for kind in (RECORDS, JOBS, "secrets"))


def test_of_a_namespace_that_is_gone_it_is_not_said_that_it_has_no_queue(api, monkeypatch):
    def refuse(_: object) -> object:
        raise NamespaceGoneError(404, "NotFound", 'namespaces "here" not found')

    monkeypatch.setattr(api, "create", refuse)
    with pytest.raises(PlaceGoneError):
        Launching(api, View(api), SITE, {}).launch(make_plan(), {})


def test_a_queue_that_we_may_not_see_is_taken_to_be_there(api):
    api.failure = ApiError(403, "Forbidden", "cannot get resource")
    check_queue(api, "user-queue")


@pytest.mark.parametrize(
    ("path", "endpoint", "environment", "remedy"),
    [
        ("s3://b/a", "", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, "AWS_ENDPOINT_URL"),
        ("s3://b/a", "", {"AWS_ENDPOINT_URL_S3": "http://[::1]:9000", "AWS_ENDPOINT_URL": "http://s"}, "AWS_ENDPOINT"),
        ("s3://b/a", "http://localhost:9000", {}, "the connection s3"),
        ("obs://localhost:9000/b/a", "", {}, "makerflow connection set"),
        ("obs://127.8.0.1:9000/b/a", "http://127.8.0.1:9000", {}, "makerflow connection set"),
    ],
)
def test_a_store_at_a_loopback_address_is_refused(path, endpoint, environment, remedy):
    secrets = {"store": {"endpoint_url": endpoint}}
    outputs = (PlannedOutput(kind="model", path=path, connection="store"),)
    with pytest.raises(InvalidInputError, match=f"The store of {path}: .* no pod reaches .*{remedy}"):
        check_stores(make_plan(inputs=(), outputs=outputs), secrets, environment)


@pytest.mark.parametrize("endpoint", ["", "http://10.0.0.7:9000", "http://localhost.example"])
def test_a_store_elsewhere_is_taken(endpoint):
    nas = PlannedInput(kind=InputKind.SOURCE, path="nas://nas1:/localhost", connection="nas:nas1", objects=())
    s3 = nas.model_copy(update={"path": "s3://localhost/a", "connection": "s3"})
    check_stores(make_plan(inputs=(nas, s3)), {"s3": {"endpoint_url": endpoint}}, {"AWS_ENDPOINT_URL": ""})
    own = make_plan(inputs=(s3,))
    check_stores(own, {"s3": {"endpoint_url": "http://s.example"}}, {"AWS_ENDPOINT_URL": "http://127.0.0.1"})


def test_a_quota_of_jobs_that_its_own_earlier_attempt_fills_is_no_wait_for_ever(api, monkeypatch):
    plan = make_plan()
    owner = api.add(RECORDS, record_manifest(plan, RunRecord.of(plan, 1, 2.0).change(seen=1, attempt=2).to_json()))
    view = View(api)
    view.put(RECORDS, owner)
    view.put(JOBS, api.add(JOBS, job_of(plan, owner)))

    def refuse(_: object) -> object:
        said = "exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1"
        raise ApiError(403, "Forbidden", said)

    monkeypatch.setattr(api, "apply", refuse)
    monkeypatch.setattr(launching, "plan_of", lambda *_: plan)
    Launching(api, view, SITE, {}).launch_job(record_of(owner), owner)
    assert ("delete", JOBS, job_name(plan.run_id, 1)) in api.calls
    assert record_of(api.get(RECORDS, name_of(owner))).told("queued")[-1].reason.startswith("waiting for 1 Job")
