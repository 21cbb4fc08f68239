"""What the tests of this folder ask of a cluster, through its own command line: what a person would type."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

MANIFESTS = Path(__file__).parents[3] / "deployments" / "kubernetes" / "manifests"
SECRETS = {
    "MAKERFLOW_ACCESS_STRING": "tester:a-password-of-a-test",
    "PGPASSWORD": "another-password-of-a-test",
    "MAKERFLOW_LOG_COLLECTOR_AUTHORIZATION": "",
}


def why_no_kubectl() -> str:
    """Empty when there is one."""
    return "" if shutil.which("kubectl") else "there is no kubectl on PATH"


@cache
def why_no_cluster() -> str:
    """Empty when KUBECONFIG names a cluster that answers."""
    if why := why_no_kubectl():
        return why
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster"
    found = subprocess.run(
        ["kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"], capture_output=True, text=True, check=False
    )
    return "" if found.returncode == 0 else f"the cluster of KUBECONFIG does not answer: {found.stderr.strip()}"


def kubectl(*arguments: str, given: str = "", fine: Sequence[int] = (0,)) -> str:
    """What it prints."""
    ended = subprocess.run(
        ["kubectl", *arguments], input=given, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode in fine, f"kubectl {' '.join(arguments)}: {ended.stderr}"
    return ended.stdout


@contextmanager
def namespace(labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """A new namespace; its deletion is not waited for. MAKERFLOW_TEST_NAMESPACE is what its name begins with."""
    name = f"{os.environ.get('MAKERFLOW_TEST_NAMESPACE', 'makerflow-test')}-{uuid4().hex[:8]}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
    kubectl("create", "-f", "-", given=json.dumps(document))
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def copied_manifests(directory: Path, **settings: str) -> Path:
    """The manifests with secrets, and with these settings."""
    copy = shutil.copytree(MANIFESTS, directory / "manifests", ignore=shutil.ignore_patterns("secrets.env"))
    (copy / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    lines = (copy / "settings.env").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in settings]
    changed = [f"{name}={value}" for name, value in settings.items()]
    (copy / "settings.env").write_text("\n".join([*kept, *changed, ""]))
    return copy


def changed_kustomization(manifests: Path, namespace: str, images: Mapping[str, str]) -> None:
    """Put them into a namespace that is there, with other images."""
    file = manifests / "kustomization.yaml"
    document = yaml.safe_load(file.read_text())
    document["namespace"] = namespace
    document["resources"].remove("namespace.yaml")
    for image in document["images"]:
        if image["name"] in images:
            name, _, tag = images[image["name"]].rpartition(":")
            image |= {"newName": name, "newTag": tag}
    file.write_text(yaml.safe_dump(document))


def rendered(manifests: Path) -> list[dict[str, Any]]:
    """The objects that they make."""
    return [document for document in yaml.safe_load_all(kubectl("kustomize", str(manifests))) if document]
