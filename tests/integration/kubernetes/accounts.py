"""The accounts of the manifests on a real cluster, each by a kubeconfig with its token."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.kubernetes.cluster import copied_manifests, kubectl, rendered

OURS = ("ServiceAccount", "Role", "RoleBinding")


@dataclass(frozen=True)
class Account:
    """An account of a namespace, by a kubeconfig that holds its token."""

    namespace: str
    file: Path

    def kubectl(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"KUBECONFIG": str(self.file)},
        )

    def may(self, verb: str, resource: str, *further: str) -> bool:
        """What the API server says of one right."""
        return self.kubectl("auth", "can-i", verb, resource, *further).stdout.strip() == "yes"


def make_accounts(namespace: str, directory: Path) -> dict[str, Account]:
    """Those of the manifests with their rights, in a namespace that is there."""
    objects = [found for found in rendered(copied_manifests(directory)) if found["kind"] in OURS]
    for found in objects:
        found["metadata"]["namespace"] = namespace
        for subject in found.get("subjects", ()):
            subject["namespace"] = namespace
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))
    return {name: _account(name, namespace, directory / name) for name in ("makerflow", "makerflow-worker")}


def _account(name: str, namespace: str, file: Path) -> Account:
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--output=json"))
    token = kubectl("-n", namespace, "create", "token", name, "--duration=20m").strip()
    config["users"] = [{"name": "account", "user": {"token": token}}]
    config["contexts"] = [
        {"name": "test", "context": {"cluster": config["clusters"][0]["name"], "user": "account"}},
    ]
    config["current-context"] = "test"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return Account(namespace, file)
