"""What the platform's account may do on a real cluster, and what it may not: by its token, against the API server."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.integration.kubernetes.accounts import Account, make_accounts
from tests.integration.kubernetes.cluster import (
    MANIFESTS,
    namespace,
    why_no_cluster,
)
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes rights"),
    pytest.mark.skipif(bool(why_no_cluster()), reason=why_no_cluster() or "there is one"),
]

HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Account]]:
    with namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield make_accounts(name, tmp_path_factory.mktemp("accounts"))


@pytest.fixture
def account(accounts: dict[str, Account]) -> Account:
    return accounts["makerflow"]


def pod(image: str = "registry.example.com/never:1") -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["python", "-c", "print('hello from a job')"],
                "resources": {"requests": {"cpu": "10m"}},
                "securityContext": HARDENED,
            }
        ],
    }


def job(name: str, image: str = "registry.example.com/never:1") -> str:
    spec = {"backoffLimit": 0, "template": {"spec": pod(image)}}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


def test_it_may_make_a_job_read_what_its_pod_prints_and_delete_it(account: Account) -> None:
    image = os.environ.get("MAKERFLOW_TEST_IMAGE")
    if not image:
        pytest.skip("MAKERFLOW_TEST_IMAGE names no image with Python that the cluster has")
    for arguments in (
        ("apply", "--server-side", "--field-manager=makerflow", "-f", "-"),
        ("wait", "--for=condition=complete", "job/hello", "--timeout=60s"),
    ):
        ended = account.kubectl(*arguments, given=job("hello", image))
        assert ended.returncode == 0, ended.stderr
    assert account.kubectl("logs", "job/hello").stdout == "hello from a job\n"
    assert account.kubectl("delete", "job", "hello", "--cascade=foreground").returncode == 0
    assert account.kubectl("get", "pods", "--output=name").stdout == ""


def test_it_may_keep_a_secret_for_a_run_which_goes_with_what_owns_it(account: Account) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-a-run"}}
    made = account.kubectl("create", "--output=json", "-f", "-", given=json.dumps(owner))
    assert made.returncode == 0, made.stderr
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "of-a-run"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "of-a-run",
            "ownerReferences": [reference | {"uid": json.loads(made.stdout)["metadata"]["uid"]}],
        },
    }
    assert account.kubectl("create", "-f", "-", given=json.dumps(secret)).returncode == 0
    assert account.kubectl("get", "secret", "of-a-run").returncode == 0
    assert account.kubectl("delete", "configmap", "of-a-run").returncode == 0
    wait_until(lambda: "NotFound" in account.kubectl("get", "secret", "of-a-run").stderr, "the secret to be gone")


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "secrets"),
        ("delete", "secret", "makerflow-secrets"),
        ("delete", "service", "makerflow"),
        ("get", "nodes"),
        ("get", "namespaces"),
        ("get", "jobs", "--all-namespaces"),
        ("-n", "kube-system", "get", "secrets"),
        ("-n", "default", "get", "jobs"),
        ("-n", "default", "get", "configmaps"),
        ("create", "role", "more", "--verb=*", "--resource=*"),
        ("create", "rolebinding", "more", "--clusterrole=admin", "--serviceaccount=default:default"),
        ("create", "serviceaccount", "more"),
        ("create", "token", "makerflow"),
        ("create", "namespace", "more"),
        ("create", "deployment", "more", "--image=x"),
        ("delete", "role", "makerflow"),
        ("delete", "networkpolicy", "--all"),
    ],
    ids=" ".join,
)
def test_it_may_not(arguments: tuple[str, ...], account: Account) -> None:
    ended = account.kubectl(*arguments)
    assert ended.returncode != 0, ended.stdout
    assert "forbidden" in ended.stderr.lower()


def test_it_may_make_no_pod_but_through_a_job(account: Account) -> None:
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": pod()}
    assert "forbidden" in account.kubectl("create", "-f", "-", given=json.dumps(document)).stderr.lower()


def test_it_may_run_nothing_in_a_pod_nor_give_itself_rights(account: Account) -> None:
    asked = {
        **{
            f"{verb} {what}": account.may(verb, "pods", f"--subresource={what}")
            for verb in ("create", "get")
            for what in ("exec", "attach", "portforward", "proxy", "ephemeralcontainers")
        },
        "escalate": account.may("escalate", "roles.rbac.authorization.k8s.io"),
        "bind": account.may("bind", "roles.rbac.authorization.k8s.io"),
        "impersonate": account.may("impersonate", "serviceaccounts"),
        "watch secrets": account.may("watch", "secrets"),
        "other namespace": account.may("create", "jobs.batch", "--namespace=default"),
        "statefulsets": account.may("patch", "statefulsets.apps"),
    }
    assert [what for what, is_allowed in asked.items() if is_allowed] == []


def test_a_job_that_asks_for_privileges_makes_no_pod(account: Account) -> None:
    document = json.loads(job("privileged"))
    document["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    made = account.kubectl("create", "-f", "-", given=json.dumps(document))
    assert made.returncode == 0, made.stderr
    about_it = ("get", "events", "--field-selector=involvedObject.name=privileged")
    wait_until(lambda: "violates PodSecurity" in account.kubectl(*about_it).stdout, "the refusal of its pod")
    assert account.kubectl("delete", "job", "privileged").returncode == 0


def test_the_account_of_trainings_has_none_of_these_rights(accounts: dict[str, Account]) -> None:
    worker = accounts["makerflow-worker"]
    rights = [(verb, resource) for rule in _rules() for resource in rule["resources"] for verb in rule["verbs"]]
    assert [right for right in rights if worker.may(right[0], *_as_options(right[1]))] == []


def _as_options(resource: str) -> tuple[str, ...]:
    """As `kubectl auth can-i` takes it, for which `pods/log` is a pod of the name `log`."""
    kind, _, subresource = resource.partition("/")
    return (kind, f"--subresource={subresource}") if subresource else (kind,)


def _rules() -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((MANIFESTS / "base" / "rights.yaml").read_text())
    rules: list[dict[str, Any]] = next(found["rules"] for found in documents if found["kind"] == "Role")
    return rules
