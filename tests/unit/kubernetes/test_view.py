"""What a process knows of the runs: what it is told, when it says that it is told nothing, and what it forgets."""

import time

import pytest

from blocks.cluster.kubernetes import failures, view
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.names import ATTEMPT, LIFE, RUN
from blocks.cluster.kubernetes.view import JOBS, PODS, RECORDS, View
from blocks.domain.errors import ClusterUnavailableError
from tests.unit.kubernetes.memory import MemoryApi
from tests.waiting import wait_until


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(view, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(failures, "LASTING_SECONDS", 0.4)
    return MemoryApi()


def is_told_of(known: View) -> bool:
    try:
        known.start()
    except ClusterUnavailableError:
        return False
    return True


def test_a_refusal_of_the_first_look_is_raised_as_it_is(api):
    api.failure = ApiError(401, "Unauthorized", "Unauthorized")
    with pytest.raises(ApiError):
        View(api).start()


def test_a_watch_that_is_refused_for_long_is_an_error_until_it_goes_well_again(api):
    known = View(api)
    known.start()
    api.failure = ApiError(401, "Unauthorized", "Unauthorized")
    api.break_watches()
    wait_until(lambda: not is_told_of(known), "the failure to be said")
    with pytest.raises(ClusterUnavailableError, match="Unauthorized"):
        known.start()
    api.failure = None
    wait_until(lambda: is_told_of(known), "the view to be young again")


def test_an_api_server_that_is_away_for_a_moment_is_not_noticed(api):
    known = View(api)
    known.start()
    for _ in range(6):  # for longer in all
        api.failure = ClusterUnavailableError("it restarts")
        api.break_watches()
        time.sleep(0.1)
        known.start()
        api.failure = None
        time.sleep(0.2)
    known.start()


def test_a_version_that_is_always_too_old_does_not_make_the_api_server_list_all_the_time(api, monkeypatch):
    def refuse(*_, **__):
        raise ApiError(410, "Expired", "too old resource version")

    monkeypatch.setattr(api, "stream", refuse)
    View(api).start()
    time.sleep(0.5)
    assert [kind for verb, kind, _ in api.calls if verb == "list"].count(PODS) <= 6


def an_object(run: str, name: str, version: int) -> dict:
    metadata = {"name": name, "resourceVersion": str(version), "uid": "u", "labels": {RUN: run, ATTEMPT: "1"}}
    fields = {"data": {"record": "{}"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    return {"metadata": metadata | {"annotations": {LIFE: "u"}}, **fields}


@pytest.mark.parametrize("order", [(RECORDS, JOBS, PODS), (PODS, JOBS, RECORDS), (JOBS, RECORDS, PODS)])
def test_nothing_is_kept_of_a_run_whose_last_object_has_gone(api, order):
    known = View(api)
    for kind in (RECORDS, JOBS, PODS):
        known.put(kind, an_object("mf-a", f"mf-a-{kind}", 1))
    assert known.record("mf-a") is None
    for version, kind in enumerate(order, 2):
        known._take(kind, {"type": "DELETED", "object": an_object("mf-a", f"mf-a-{kind}", version)})
    assert (known.runs(), known._departed, known._records) == ([], {}, {})


def test_a_pod_that_went_before_its_run_is_known_until_that_goes(api):
    known = View(api)
    known.put(RECORDS, an_object("mf-a", "mf-a", 1))
    known.put(PODS, an_object("mf-a", "mf-a-1-0", 2))
    known.drop(PODS, "mf-a-1-0")
    assert [pod["metadata"]["name"] for pod in known.seen("mf-a").departed_of(1)] == ["mf-a-1-0"]
