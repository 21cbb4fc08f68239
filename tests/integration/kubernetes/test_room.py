"""Runs of several workers in a namespace that has no room for all of them, on a real cluster."""

from collections.abc import Iterator

import pytest

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes import holding
from blocks.domain.plan import ExitCause, RunPhase
from tests.contract.cluster_contract import SLOW, texts, until, until_it_prints
from tests.kubernetes import TestNamespace, kubernetes_namespace

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]

PAIR = {"workers": 2, "resources": {"vcpus": 1, "memory_mib": 128}}


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace({"pods": "2"}) as made:
        yield made


def test_runs_that_hold_each_others_places_give_them_back_until_each_has_had_room(site, monkeypatch):
    monkeypatch.setattr(holding, "HOLD_SECONDS", 3.0)
    monkeypatch.setattr(holding, "REST_SECONDS", 2.0)
    cluster = site.connect()
    first = cluster.launch(site.plan(SLOW))
    until_it_prints(cluster, first)
    pairs = [cluster.launch(site.plan("print('done')", **PAIR)) for _ in range(2)]
    given_back, ended = [], {}
    for event in cluster.watch(Selector(), idle_seconds=60):
        assert event is not None, (cluster.find(Selector()), given_back, ended)
        if event.kind == "queued" and "gave it back" in event.reason:
            given_back.append(event)
            if len(given_back) == 1:
                until(cluster, first, lambda state: state.phase is RunPhase.RUNNING)
                cluster.stop(first, 0)
        if event.kind == "finished":
            ended[event.run_id] = event.cause
        if ended.keys() >= {handle.run_id for handle in pairs}:
            break
    assert "room for 1 of its 2 workers" in given_back[0].reason
    assert [ended[handle.run_id] for handle in pairs] == [ExitCause.OK] * 2
    assert [texts(cluster, handle, rank) for handle in pairs for rank in (0, 1)] == [["done"]] * 4
