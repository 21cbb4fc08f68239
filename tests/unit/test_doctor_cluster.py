"""What the doctor says of a Kubernetes cluster, from what it answers."""

from pathlib import Path

import pytest
import yaml

from deployments.cli.cluster_answers import Claim, Place
from deployments.cli.cluster_rights import DANGEROUS, FOR_QUEUES, NEEDED, Right, listed, rights
from deployments.cli.doctor import verdict
from deployments.cli.doctor_checks import limits
from deployments.cli.doctor_cluster import (
    ENFORCED,
    MANIFESTS,
    claim_finding,
    cluster,
    dangerous_finding,
    image_findings,
    namespace_finding,
    no_namespace_finding,
    queue_finding,
    rights_finding,
    version_finding,
)
from deployments.cli.findings import Finding

PLACE = Place("the context lab", "https://10.0.0.1:6443", "ml")
ROOT = Path(__file__).parents[2]


def test_nothing_is_said_where_trainings_run_on_this_machine(home: Path) -> None:
    assert list(cluster()) == []


def test_this_machine_s_limits_do_not_matter_where_trainings_run_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_CLUSTER", "kubernetes")
    assert list(limits()) == []


def test_without_a_cluster_it_says_how_to_name_one(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("MAKERFLOW_CLUSTER", "kubernetes")
    image, _, found = cluster()
    assert (image.level, found.level) == ("problem", "problem")
    assert "no cluster is configured here" in found.message
    assert "Set KUBECONFIG" in found.remedy


def test_a_broken_kubeconfig_is_named_with_what_is_wrong(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import kube_config

    (broken := tmp_path / "broken").write_text("a: [")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(broken))
    monkeypatch.setenv("MAKERFLOW_CLUSTER", "kubernetes")
    *_, found = cluster()
    assert found.level == "problem"
    assert f"{broken}: it cannot be used" in found.message


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.34.4", "ok"), ("v1.29.0-gke.1", "ok"), ("v1.28.15", "problem"), ("v2.0.0", "ok"), ("unknown", "problem")],
)
def test_a_cluster_has_to_know_containers_that_stay_beside_a_job_s(version: str, level: str) -> None:
    found = version_finding(PLACE, version)
    assert found.level == level
    assert all(text in found.message for text in ("lab", "https://10.0.0.1:6443", "namespace ml", version))


def test_all_missing_rights_are_one_finding_with_the_command_that_gives_them() -> None:
    missing = [*rights("batch", "jobs", "create delete"), Right("", "pods/log", "get")]
    found = rights_finding(missing, "system:serviceaccount:ml:trainer", PLACE)
    assert found.level == "problem"
    assert "create, delete jobs.batch; get pods/log" in found.message
    assert f"kubectl -n ml apply -f {MANIFESTS}/base/rights.yaml" in found.remedy
    assert found.remedy.endswith("--role=makerflow --serviceaccount=ml:trainer")
    assert rights_finding(missing, "jane", PLACE).remedy.endswith("--role=makerflow --user=jane")
    assert rights_finding([], "jane", PLACE).level == "ok"


def test_rights_that_nobody_needs_are_a_warning() -> None:
    found = dangerous_finding([Right("", "pods/exec", "create"), Right("", "secrets", "get", everywhere=True)], "jane")
    assert found
    assert found.level == "warning"
    assert "create pods/exec; get secrets in every namespace" in found.message
    assert dangerous_finding([], "jane") is None


def test_what_is_needed_is_what_the_manifests_give() -> None:
    documents = yaml.safe_load_all((ROOT / MANIFESTS / "base" / "rights.yaml").read_text())
    (role,) = [found for found in documents if found["kind"] == "Role"]
    given = {
        Right(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {*NEEDED, *FOR_QUEUES}
    assert not given & set(DANGEROUS)


def test_rights_are_listed_by_kind() -> None:
    found = [Right("", "pods", "get"), Right("batch", "jobs", "get"), Right("", "pods", "delete")]
    assert listed(found) == "get jobs.batch; get, delete pods"
    assert listed([]) == ""


@pytest.mark.parametrize(
    ("labels", "volumes", "level", "said"),
    [
        (None, [], "ok", "not ours to see"),
        ({ENFORCED: "restricted"}, [], "ok", "ml takes restricted pods"),
        ({ENFORCED: "baseline"}, [], "warning", "ml takes baseline pods"),
        ({}, [], "warning", "ml takes any pods"),
        ({ENFORCED: "restricted"}, ["nfs:server:/x"], "problem", "nfs:server:/x is refused"),
        ({ENFORCED: "baseline"}, ["nfs:server:/x"], "ok", "ml takes baseline pods"),
        ({ENFORCED: "baseline"}, ["MAKERFLOW_NODE_CACHE=/var/cache"], "problem", "MAKERFLOW_NODE_CACHE=/var/cache is"),
        ({}, ["MAKERFLOW_NODE_CACHE=/var/cache"], "ok", "ml takes any pods"),
    ],
)
def test_the_namespace_is_to_take_restricted_pods_and_what_the_settings_ask_for(
    labels: dict[str, str] | None, volumes: list[str], level: str, said: str
) -> None:
    found = namespace_finding(PLACE, labels, volumes)
    assert found.level == level
    assert said in found.message
    assert bool(found.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (no_namespace_finding("ml"), "kubectl create namespace ml"),
        (claim_finding("nas://nas1:/", "shared", None), "Make the PersistentVolumeClaim shared"),
        (claim_finding("nas://nas1:/", "shared", Claim("Lost", ("ReadWriteMany",))), "kubectl describe pvc shared"),
        (claim_finding("the node cache", "node-cache", None), "Make the PersistentVolumeClaim node-cache"),
        (queue_finding("user-queue", "", is_there=None), "Install Kueue"),
        (queue_finding("user-queue", "v1beta1", is_there=False), "Make it in the namespace"),
    ],
)
def test_what_is_not_there_is_a_problem_with_what_to_do(found: Finding, said: str) -> None:
    assert found.level == "problem"
    assert said in found.remedy


@pytest.mark.parametrize(
    ("modes", "level"),
    [(("ReadWriteMany",), "ok"), (("ReadOnlyMany",), "ok"), (("ReadWriteOnce",), "warning"), ((), "warning")],
)
def test_a_claim_that_one_node_alone_can_mount_is_a_warning(modes: tuple[str, ...], level: str) -> None:
    assert claim_finding("nas://nas1:/", "shared", Claim("Bound", modes)).level == level


def test_a_queue_that_is_there_or_hidden_is_fine() -> None:
    found = [queue_finding("user-queue", "v1beta1", is_there=is_there) for is_there in (True, None)]
    assert [each.level for each in found] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("image", "level"),
    [
        ("", "problem"),
        ("registry.example.com:5000/makerflow", "warning"),
        ("registry.example.com/makerflow:latest", "warning"),
        ("registry.example.com:5000/makerflow:1.0", "ok"),
        ("registry.example.com/makerflow@sha256:abc", "ok"),
    ],
)
def test_the_image_has_to_be_named_and_is_to_stay_the_same(image: str, level: str) -> None:
    (found,) = image_findings(image)
    assert found.level == level


@pytest.mark.parametrize(
    ("problems", "warnings", "said"),
    [(0, 0, "All is well."), (0, 1, "It works; 1 warning."), (2, 1, "2 problems.")],
)
def test_the_last_line_does_not_hide_warnings(problems: int, warnings: int, said: str) -> None:
    assert verdict(problems, warnings) == said
