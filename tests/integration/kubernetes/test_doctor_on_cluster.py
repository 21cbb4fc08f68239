"""The doctor asks a real cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cli.doctor_cluster import cluster
from deployments.cli.findings import Finding
from tests.integration.kubernetes.accounts import Account, make_accounts
from tests.integration.kubernetes.cluster import kubectl, namespace, why_no_cluster

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes doctor"),
    pytest.mark.skipif(bool(why_no_cluster()), reason=why_no_cluster() or "there is one"),
]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Account]]:
    with namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield make_accounts(name, tmp_path_factory.mktemp("accounts"))


@pytest.fixture(autouse=True)
def settings(home: Path, accounts: dict[str, Account], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKERFLOW_CLUSTER", "kubernetes")
    monkeypatch.setenv("MAKERFLOW_IMAGE", "registry.example.com/makerflow:1.0")
    monkeypatch.setenv("MAKERFLOW_NAMESPACE", accounts["makerflow"].namespace)
    monkeypatch.setenv("MAKERFLOW_ARTIFACTS", "obs://store.example.com/makerflow")


def act_as(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    """The client has read KUBECONFIG when it was imported."""
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(account.file))


def by_check(findings: Iterator[Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in findings:
        found.setdefault(finding.check, []).append(finding.level)
    return found


def test_the_account_of_the_manifests_has_all_rights_and_no_dangerous_one(
    accounts: dict[str, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as(monkeypatch, accounts["makerflow"])
    expected = {"cluster image": ["ok"], "cluster": ["ok"], "cluster rights": ["ok"], "cluster namespace": ["ok"]}
    assert by_check(cluster()) == expected


def test_an_account_without_rights_is_told_which_and_how_to_get_them(
    accounts: dict[str, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = accounts["makerflow-worker"]
    act_as(monkeypatch, worker)
    (found,) = [finding for finding in cluster() if finding.level == "problem"]
    assert "get, list, watch, create, patch, delete jobs.batch" in found.message
    assert f"--serviceaccount={worker.namespace}:makerflow-worker" in found.remedy


def test_an_administrator_is_told_of_dangerous_rights_and_of_what_is_not_there(
    accounts: dict[str, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_QUEUE", "no-queue")
    monkeypatch.setenv("MAKERFLOW_NAS_VOLUMES", '{"nas1": "claim:no-claim"}')
    found = {finding.check: finding for finding in cluster()}
    if kubectl("auth", "can-i", "*", "*", "--all-namespaces", fine=(0, 1)).strip() != "yes":
        pytest.skip("KUBECONFIG names no administrator")
    assert found["cluster rights"].level == "warning"
    assert "create pods/exec" in found["cluster rights"].message
    assert "the claim no-claim, which is not there" in found["cluster stores"].message
    assert found["cluster queue"].level == "problem"


def test_without_a_place_for_outputs_it_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKERFLOW_ARTIFACTS")
    found = {finding.check: finding for finding in cluster()}
    assert found["cluster outputs"].level == "warning"
    assert "MAKERFLOW_ARTIFACTS is not set" in found["cluster outputs"].message


def test_a_namespace_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKERFLOW_NAMESPACE", "there-is-no-such-namespace")
    found = {finding.check: finding for finding in cluster()}
    assert "there is no namespace there-is-no-such-namespace" in found["cluster namespace"].message


def test_a_cluster_that_is_away_is_told_without_a_long_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = kubectl("config", "view", "--raw", "--minify", "--flatten")
    server = kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    file = tmp_path / "config"
    file.write_text(config.replace(server, "https://127.0.0.1:9"))
    act_as(monkeypatch, Account("default", file))
    _, found = cluster()
    assert (found.check, found.level) == ("cluster", "problem")
    assert "it does not answer" in found.message
