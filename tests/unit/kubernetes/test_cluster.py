"""What the cluster's methods do where a run's objects are not as usual; the API server is one in memory."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes import cluster as module
from blocks.cluster.kubernetes import stopping
from blocks.cluster.kubernetes.cluster import KubernetesCluster
from blocks.cluster.kubernetes.manifests import WORKER, Site
from blocks.cluster.kubernetes.names import run_name
from blocks.cluster.kubernetes.record import UnreadableRecordError, record_of
from blocks.cluster.kubernetes.view import JOBS, PODS, RECORDS
from blocks.domain.errors import ClusterUnavailableError
from blocks.domain.plan import RunHandle, RunPhase
from tests.unit.kubernetes.memory import MemoryApi, job_of, pod_of
from tests.unit.kubernetes.plans import make_plan
from tests.waiting import wait_until

PLAN = make_plan()
RUN = run_name(PLAN.run_id)
HANDLE = RunHandle(cluster="kubernetes", run_id=PLAN.run_id)


@pytest.fixture
def api(monkeypatch):
    api = MemoryApi()
    monkeypatch.setattr(module, "Api", lambda *_: api)
    module._connection.cache_clear()
    yield api
    module._connection.cache_clear()


def connect() -> KubernetesCluster:
    """As another process would."""
    module._connection.cache_clear()
    return KubernetesCluster(Site(image="registry.example/makerflow"))


@pytest.fixture
def cluster(api):
    return connect()


def change_record(api: MemoryApi, text: str) -> None:
    api.add(RECORDS, {**api.get(RECORDS, RUN), "data": {"record": text}})  # type: ignore[dict-item]


@pytest.fixture
def unreadable(api, cluster):
    """A run that has a pod, and whose record nobody here can read."""
    cluster.launch(PLAN)
    api.add(PODS, pod_of(PLAN, api.get(RECORDS, RUN), status={"phase": "Running"}))
    change_record(api, '{"version": 2}')
    return connect()


def test_a_record_with_fields_of_a_later_version_is_read_and_keeps_them(api, cluster):
    cluster.launch(PLAN)
    document = json.loads(api.get(RECORDS, RUN)["data"]["record"])
    document["events"] = [{"kind": "queued", "run_id": PLAN.run_id, "sequence": 1, "at": "2030-01-01T00:00:00Z",
                           "reason": "full", "since": 5}]  # fmt: skip
    change_record(api, json.dumps(document | {"sequence": 1, "colour": "red"}))
    cluster = connect()
    assert cluster.launch(PLAN) == HANDLE
    assert [state.handle for state in cluster.find(Selector())] == [HANDLE]
    cluster.stop(HANDLE, 0)
    assert record_of(api.get(RECORDS, RUN)).is_over
    assert json.loads(api.get(RECORDS, RUN)["data"]["record"])["colour"] == "red"


def test_a_person_removes_a_run_by_deleting_its_objects_also_where_its_record_has_gone(cluster):
    assert cluster.removal_of(PLAN.run_id) == (
        "remove what is left of it: `kubectl delete configmap,job,pod -n here -l makerflow.io/run=mf-training-7`"
    )


@pytest.mark.parametrize("act", ["stop", "remove", "launch"])
def test_a_run_whose_record_cannot_be_read_is_left_alone(api, unreadable, act):
    cluster = unreadable
    api.calls.clear()
    acts: dict[str, Any] = {
        "stop": lambda: cluster.stop(HANDLE, 0),
        "remove": lambda: cluster.remove(HANDLE),
        "launch": lambda: cluster.launch(PLAN),
    }
    with pytest.raises(UnreadableRecordError, match=f"kubectl delete configmap {RUN}"):
        acts[act]()
    assert not {verb for verb, _, _ in api.calls} & {"delete", "delete_all", "replace", "apply"}


def test_a_run_whose_record_cannot_be_read_is_still_known(unreadable):
    (state,), (trace,) = unreadable.find(Selector(labels={"training": "7"})), unreadable.traces()
    assert (state.handle, state.phase, state.processes) == (HANDLE, RunPhase.RUNNING, 1)
    assert "kubectl" in state.detail
    assert (trace.run_id, trace.phase, trace.processes, trace.labels) == (
        "training-7",
        RunPhase.RUNNING,
        1,
        PLAN.labels,
    )


def test_what_is_left_of_a_run_with_a_long_name_is_told_by_its_id(api, cluster):
    plan = make_plan(run_id="a" * 60)
    api.add(JOBS, job_of(plan, {"metadata": {"uid": "an earlier one"}}))
    assert [(trace.run_id, trace.phase) for trace in cluster.traces()] == [("a" * 60, None)]


@pytest.mark.parametrize(
    "follow",
    [
        lambda cluster: next(cluster.watch(Selector(run_id=PLAN.run_id), idle_seconds=0)),
        lambda cluster: next(cluster.watch(Selector(labels={"training": "7"}), idle_seconds=0)),
        lambda cluster: cluster.stop(HANDLE, 0),
    ],
)
def test_who_begins_to_follow_has_sidecars_tell_again_what_nobody_heard(cluster, monkeypatch, follow):
    closed: list[str] = []
    monkeypatch.setattr(cluster._shared.streams, "close", closed.append)
    cluster.launch(PLAN)
    cluster.launch(make_plan(run_id="another", labels={}))
    follow(cluster)
    assert closed == [RUN]


def test_threads_that_begin_at_once_share_what_follows_the_cluster(api, monkeypatch):
    made: list[object] = []

    def settling(*_: object) -> object:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    monkeypatch.setattr(module, "Settling", settling)
    with ThreadPoolExecutor(4) as pool:
        connected = pool.map(lambda _: KubernetesCluster(Site(image="i"))._settling, range(4))
        assert set(connected) == set(made)
    assert len(made) == 1


def test_a_pod_that_somebody_keeps_does_not_let_a_stop_wait_for_ever(api, cluster, monkeypatch):
    for bound, seconds in (("SETTLE_SECONDS", 0.0), ("UPLOAD_SECONDS", 0.0), ("STUCK_SECONDS", 1.5)):
        monkeypatch.setattr(stopping, bound, seconds)
    cluster.launch(PLAN)
    runs = {"name": WORKER, "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}}}
    status = {"phase": "Running", "containerStatuses": [runs]}
    pod = api.add(PODS, pod_of(PLAN, api.get(RECORDS, RUN), status=status))
    wait_until(lambda: cluster.traces()[0].processes, "the pod to be seen")
    api.stuck.add(pod["metadata"]["name"])
    with pytest.raises(ClusterUnavailableError, match=f"{pod['metadata']['name']} did not end .* finalizer"):
        cluster.stop(HANDLE, 0)
    api.stuck.clear()  # and so it goes
    assert cluster.stop(HANDLE, 0).remaining == 0
    cluster.remove(HANDLE)
    assert (cluster.find(Selector()), cluster.traces()) == ([], [])
