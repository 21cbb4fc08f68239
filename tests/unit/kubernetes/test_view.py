"""What a process knows of the runs: what it is told, when it says that it is told nothing, and what it forgets."""

import json
import time
from contextlib import contextmanager

import pytest

from blocks.cluster.kubernetes import failures, view
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.names import ATTEMPT, LIFE, RUN
from blocks.cluster.kubernetes.view import JOBS, PODS, RECORDS, WARNINGS, View
from blocks.domain.errors import ClusterUnavailableError
from tests.unit.kubernetes.memory import MemoryApi
from tests.waiting import wait_until


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(view, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(view, "SHORT_SECONDS", 0.05)
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


def test_a_refusal_of_a_watch_does_not_fail_the_first_look(api, monkeypatch):
    """Which other kinds are not through with."""

    def refuse(*_, **__):
        raise ApiError(403, "Forbidden", "cannot watch")

    list_at_once = api.list

    def list_slowly(kind, query):
        time.sleep(0.2 if kind == PODS else 0)
        return list_at_once(kind, query)

    monkeypatch.setattr(api, "stream", refuse)
    monkeypatch.setattr(api, "list", list_slowly)
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


def test_watches_that_end_at_once_do_not_make_the_api_server_begin_others_all_the_time(api, monkeypatch):
    @contextmanager
    def end_at_once(*_, **__):
        api.calls.append(("watch", PODS, ""))
        yield _Told()

    monkeypatch.setattr(api, "stream", end_at_once)
    View(api).start()
    time.sleep(0.5)
    assert [verb for verb, *_ in api.calls].count("watch") <= 5 * 6


def test_a_watch_that_tells_something_and_ends_at_once_is_begun_again_after_a_pause(api, monkeypatch):
    begun = []

    @contextmanager
    def end_at_once(kind, *_, **__):
        begun.append(kind)
        version = str(1000 + len(begun))
        bookmark = json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})
        yield _Told(bookmark.encode() + b"\n")

    monkeypatch.setattr(api, "stream", end_at_once)
    View(api).start()
    time.sleep(0.5)
    assert begun.count(PODS) <= 12


def test_a_watch_waits_for_longer_than_bookmarks_may_take_and_no_longer(api, monkeypatch):
    """On a real API server up to 120 s pass between two; of events there are none, and so the API server ends it."""
    asked = {}

    @contextmanager
    def note(kind, *_, query, idle_seconds):
        asked[kind] = (query["timeoutSeconds"], idle_seconds)
        yield _Told()

    monkeypatch.setattr(api, "stream", note)
    View(api).start()
    wait_until(lambda: len(asked) == 5, "all to be watched")
    assert {idle for _, idle in asked.values()} == {150.0}
    assert (asked[PODS][0], asked[WARNINGS][0]) == (290, 120)


@pytest.mark.parametrize("code", [429, 500, 504])
def test_an_error_that_may_pass_is_no_refusal_also_where_a_watch_tells_it(api, code):
    error = {"type": "ERROR", "object": {"code": code, "reason": "r", "message": "etcd"}}
    with pytest.raises(ClusterUnavailableError, match=f"{code} r: etcd"):
        View(api)._take(PODS, error)


class _Told:
    """A watch that tells this, and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def stream(self, _):
        return iter(self._pieces)


def an_object(run: str, name: str, version: int, attempt: int = 1) -> dict:
    metadata = {"name": name, "resourceVersion": str(version), "uid": "u", "labels": {RUN: run, ATTEMPT: str(attempt)}}
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


def test_of_a_run_that_restarts_for_weeks_the_pods_of_its_last_two_attempts_are_known(api):
    known = View(api)
    known.put(RECORDS, an_object("mf-a", "mf-a", 1))
    for attempt in range(1, 5):
        for rank in range(2):
            known.put(PODS, an_object("mf-a", f"mf-a-{attempt}-{rank}", 10 * attempt + rank, attempt))
            known.drop(PODS, f"mf-a-{attempt}-{rank}")
    kept = [pod["metadata"]["name"] for pod in known.seen("mf-a").departed]
    assert kept == ["mf-a-3-0", "mf-a-3-1", "mf-a-4-0", "mf-a-4-1"]


def test_a_change_is_told_also_where_more_runs_are_known_than_are_kept(api, monkeypatch):
    monkeypatch.setattr(view, "MOST_TURNS", 2)
    known = View(api)
    for version, run in enumerate(("mf-a", "mf-b", "mf-a", "mf-c"), 1):
        known.put(RECORDS, an_object(run, run, version))
    assert known.changed_since(0) == {"mf-a", "mf-c"}
