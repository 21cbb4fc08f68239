"""Trainings that are stopped, left and watched on Kubernetes: the tests of the command line, once more."""

from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes import client

from tests.e2e.kubernetes.conftest import ClusterCommandLine
from tests.e2e.test_cli_interrupts import (
    test_a_detached_training_is_followed_and_stopped_from_other_processes,
    test_a_killed_command_leaves_a_training_that_can_be_resumed,
    waiting,
)
from tests.e2e.test_cli_monitoring import (
    test_workers_are_watched_through_the_death_of_who_follows_them_and_no_sample_is_lost_or_doubled,
)
from tests.integration.kubernetes.test_faults import evict
from tests.kubernetes import TestNamespace
from tests.waiting import wait_for

__all__ = [
    "test_a_detached_training_is_followed_and_stopped_from_other_processes",
    "test_a_killed_command_leaves_a_training_that_can_be_resumed",
    "test_workers_are_watched_through_the_death_of_who_follows_them_and_no_sample_is_lost_or_doubled",
]

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes stopping")]


@pytest.mark.req("COM-04", "TRN-13")
def test_what_runs_is_not_taken_for_gone_where_the_settings_choose_another_cluster(
    cli: ClusterCommandLine, code: Path
) -> None:
    cli.json(*waiting(cli, code, "far"), "--detach")
    cli.wait_for_status("far", "RUNNING")
    place = {name: cli.environment[f"MAKERFLOW_{name}"] for name in ("CLUSTER", "NAMESPACE")}
    needed = "Set MAKERFLOW_CLUSTER={CLUSTER} and MAKERFLOW_NAMESPACE={NAMESPACE}, and try again.".format(**place)
    for other in ({"MAKERFLOW_NAMESPACE": "default"}, {"MAKERFLOW_CLUSTER": "local"}):
        elsewhere = replace(cli, environment=cli.environment | other)
        for command in (("stop", "far"), ("resume", "far"), ("logs", "far")):
            ended = elsewhere.run("training", *command)
            assert ended.code != 0, ended
            assert needed in " ".join(ended.err.split())
        assert elsewhere.json("training", "show", "far")["status"] == "RUNNING"
    assert cli.json("training", "stop", "far")["status"] == "STOPPED"


@pytest.mark.req("COM-04", "TRN-12")
def test_a_worker_that_is_evicted_is_told_of_wherever_one_looks(
    cli: ClusterCommandLine, code: Path, namespace: TestNamespace
) -> None:
    training = cli.json(*waiting(cli, code, "moved"), "--detach")
    cli.wait_for_status("moved", "RUNNING")
    pods = client.CoreV1Api().list_namespaced_pod(
        namespace.name, label_selector=f"makerflow.io/training={training['id']}"
    )
    evict(namespace, pods.items[0].metadata.name)

    def restarts() -> list[str] | None:
        history = cli.json("training", "show", "moved")["history"]
        return [move["reason"] for move in history if "(attempt 2)" in move["reason"]] or None

    [told] = wait_for(restarts, "the restart in its history", 120)
    cli.let_go("moved")
    cli.wait_for_status("moved", "COMPLETE", seconds=120)
    assert "was evicted from its node" in told
    assert told in " ".join(cli.run("training", "show", "moved").out.split())
