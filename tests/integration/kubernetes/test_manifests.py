"""The manifests as kubectl renders them."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from blocks.connections.settings import Settings
from blocks.domain.catalogues import BUILT_IN, load_catalogue
from deployments.kubernetes.part import NAMES
from tests.integration.kubernetes.cluster import (
    MANIFESTS,
    SECRETS,
    changed_kustomization,
    copied_manifests,
    rendered,
    why_no_kubectl,
)
from tests.integration.kubernetes.pod_security import containers, violations

IMAGE = "registry.example.com/own/makerflow:1.2.3"
NOT_THERE = {
    "home": "the image and the volume fix it",
    "prefect_api_url": "the front door of the pod",
    "access_string": "a secret",
    "log_collector_authorization": "a secret",
    "cpus": "of this machine's cluster alone",
    "memory_mib": "the same",
    "package_cache_gb": "the same",
    "keep_environments_days": "the same",
}
"""Settings that the file of settings does not offer."""

skipped_without_kubectl = pytest.mark.skipif(bool(why_no_kubectl()), reason=why_no_kubectl() or "there is one")

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    if why := why_no_kubectl():
        pytest.skip(why)
    return rendered(copied_manifests(tmp_path_factory.mktemp("kustomize"), MAKERFLOW_IMAGE=IMAGE))


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The specification of each workload's pods."""
    return {name: found["spec"]["template"]["spec"] for name, found in of_kind(objects, "StatefulSet").items()}


def settings_file() -> dict[str, str]:
    lines = (MANIFESTS / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_all_is_in_one_namespace_which_takes_nothing_but_restricted_pods(objects: Objects) -> None:
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = {found["metadata"]["namespace"] for found in objects if found is not namespace}
    assert others == {namespace["metadata"]["name"]}


def test_no_pod_asks_for_what_restricted_pod_security_refuses(objects: Objects) -> None:
    found = {name: list(violations(pod)) for name, pod in pods(objects).items()}
    assert found == {"makerflow": [], "makerflow-database": []}


def test_the_check_of_pod_security_finds_what_is_to_be_found() -> None:
    lax = {"hostPID": True, "volumes": [{"name": "h", "hostPath": {}}], "containers": [{"name": "c"}]}
    assert {text.rpartition(": ")[2] for text in violations(lax)} >= {
        "hostPID",
        "{'hostPath'}",
        "runAsNonRoot",
        "seccompProfile",
        "capabilities.drop",
        "allowPrivilegeEscalation",
    }


def test_every_container_has_a_root_that_cannot_be_written_to_and_bounds(objects: Objects) -> None:
    for pod in pods(objects).values():
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_every_part_is_watched_as_it_starts_and_while_it_runs(objects: Objects) -> None:
    running = [container for pod in pods(objects).values() for container in pod["containers"]]
    assert all({"startupProbe", "livenessProbe"} <= set(container) for container in running)
    unready = {container["name"] for container in running if "readinessProbe" not in container}
    assert unready == {"runner"}  # nobody calls it


def test_the_containers_are_the_parts_of_makerflow_up_in_the_image_of_the_settings(objects: Objects) -> None:
    pod = pods(objects)["makerflow"]
    commands = {container["name"]: container["command"][-1] for container in pod["containers"]}
    assert commands == {name: name for name in NAMES}
    assert {container["image"] for container in containers(pod)} == {IMAGE}


def test_only_the_runner_can_talk_to_the_cluster(objects: Objects) -> None:
    assert not any(pod["automountServiceAccountToken"] for pod in pods(objects).values())
    assert not any(account["automountServiceAccountToken"] for account in of_kind(objects, "ServiceAccount").values())
    with_token = {
        container["name"]
        for pod in pods(objects).values()
        for container in containers(pod)
        for mount in container["volumeMounts"]
        if "serviceaccount" in mount["mountPath"]
    }
    assert with_token == {"runner"}


def test_secrets_are_in_the_secret_alone_and_only_where_they_are_needed(objects: Objects) -> None:
    (secret,) = of_kind(objects, "Secret").values()
    assert {name: base64.b64decode(value).decode() for name, value in secret["data"].items()} == SECRETS
    others = repr([found for found in objects if found is not secret])
    assert not [name for name, value in SECRETS.items() if value and value in others]
    taken = {
        container["name"]: {
            entry["valueFrom"]["secretKeyRef"]["key"] for entry in container.get("env", ()) if "valueFrom" in entry
        }
        for pod in pods(objects).values()
        for container in containers(pod)
    }
    assert taken == {
        "prepare": {"PGPASSWORD", "MAKERFLOW_ACCESS_STRING"},
        "prefect": {"PGPASSWORD"},
        "access": {"PGPASSWORD"},
        "front-door": set(),
        "runner": {"PGPASSWORD", "MAKERFLOW_LOG_COLLECTOR_AUTHORIZATION"},
        "postgresql": {"PGPASSWORD"},
    }


def test_the_role_gives_no_more_than_trainings_need(objects: Objects) -> None:
    (role,) = of_kind(objects, "Role").values()
    given = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert not any("*" in pair for pair in given)
    assert {resource for resource, _ in given} == {
        "jobs",
        "configmaps",
        "services",
        "secrets",
        "pods",
        "pods/log",
        "events",
        "resourcequotas",
        "persistentvolumeclaims",
        "localqueues",
    }
    assert not given & {("pods", "create"), ("secrets", "list"), ("secrets", "watch"), ("events", "create")}
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ClusterRoleBinding")
    (binding,) = of_kind(objects, "RoleBinding").values()
    assert [subject["name"] for subject in binding["subjects"]] == ["makerflow"]


def test_a_change_of_the_settings_starts_the_platform_again(objects: Objects, tmp_path: Path) -> None:
    other = rendered(copied_manifests(tmp_path, MAKERFLOW_IMAGE=IMAGE, MAKERFLOW_QUEUE="user-queue"))

    def reference(found: Objects) -> str:
        return str(pods(found)["makerflow"]["containers"][0]["envFrom"][0]["configMapRef"]["name"])

    assert reference(objects) in of_kind(objects, "ConfigMap")
    assert reference(objects) != reference(other)


@skipped_without_kubectl
def test_it_can_be_put_into_a_namespace_that_is_there(tmp_path: Path) -> None:
    manifests = copied_manifests(tmp_path)
    changed_kustomization(manifests, "ml", {"postgres": "registry.example.com:5000/postgres:16"})
    found = rendered(manifests)
    assert not of_kind(found, "Namespace")
    assert {each["metadata"]["namespace"] for each in found} == {"ml"}
    (subject,) = of_kind(found, "RoleBinding")["makerflow"]["subjects"]
    assert subject["namespace"] == "ml"
    assert pods(found)["makerflow-database"]["containers"][0]["image"] == "registry.example.com:5000/postgres:16"


def test_the_file_of_settings_has_each_setting_once_and_with_a_value_that_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = re.findall(r"^([A-Z_]+)=", (MANIFESTS / "settings.env").read_text(), re.MULTILINE)
    assert len(names) == len(set(names))
    for name, value in settings_file().items():
        monkeypatch.setenv(name, value)
    assert Settings().cluster == "kubernetes"
    offered = {name.removeprefix("MAKERFLOW_").lower() for name in names if name.startswith("MAKERFLOW_")}
    assert offered | set(NOT_THERE) == set(Settings.model_fields)
    assert not offered & set(NOT_THERE)


def test_the_example_of_secrets_names_each_that_is_used() -> None:
    names = re.findall(r"^([A-Z_]+)=", (MANIFESTS / "secrets.env.example").read_text(), re.MULTILINE)
    assert set(names) == set(SECRETS)


def test_the_catalogue_is_one() -> None:
    assert load_catalogue((MANIFESTS / "catalogue.yaml").read_text()) == BUILT_IN


def policy(objects: Objects, name: str) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(objects, "NetworkPolicy")[f"makerflow-{name}"]["spec"]
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector, of the two forms that ours have, takes an object."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(each["key"]) not in each["values"] for each in selector.get("matchExpressions", ())
    )


def test_nobody_reaches_a_pod_unless_a_policy_lets_them(objects: Objects) -> None:
    assert policy(objects, "nobody-comes-in") == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_the_database_is_reached_by_the_platform_alone_and_reaches_nobody(objects: Objects) -> None:
    rules = policy(objects, "database")
    labels = of_kind(objects, "StatefulSet")["makerflow-database"]["spec"]["template"]["metadata"]["labels"]
    platform = of_kind(objects, "StatefulSet")["makerflow"]["spec"]["template"]["metadata"]["labels"]
    assert selects(rules["podSelector"], labels)
    ((peer,),) = [rule["from"] for rule in rules["ingress"]]
    assert selects(peer["podSelector"], platform)
    assert not selects(peer["podSelector"], {"app.kubernetes.io/part-of": "makerflow"})
    assert "Egress" in rules["policyTypes"]
    assert "egress" not in rules


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/component": "training"}, {"job-name": "x"}])
def test_a_training_is_told_by_what_it_is_not_and_reaches_nothing_private(
    objects: Objects, labels: dict[str, str]
) -> None:
    rules = policy(objects, "trainings")
    assert selects(rules["podSelector"], labels)
    for name in ("makerflow", "makerflow-database"):
        own = of_kind(objects, "StatefulSet")[name]["spec"]["template"]["metadata"]["labels"]
        assert not selects(rules["podSelector"], own)
    peers = [peer for rule in rules["egress"] for peer in rule.get("to", ())]
    blocks = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
    assert all(private <= set(block["except"]) for block in blocks if ":" not in block["cidr"])
    assert all(selects(peer["podSelector"], labels) for peer in peers if "podSelector" in peer)
    everywhere = [rule for rule in rules["egress"] if "to" not in rule]
    assert [port["port"] for rule in everywhere for port in rule["ports"]] == [53, 53]
