"""Breaks parts of the cluster itself, by commands that environment variables name: every cluster has others.

They are shell commands. `MAKERFLOW_TEST_KILL_KUBELET` kills the kubelet of the node `{node}`,
`MAKERFLOW_TEST_KILL_APISERVER` the API server, and `MAKERFLOW_TEST_HEAL` returns once all that was killed runs again.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.kubernetes.cluster import kubectl
from tests.waiting import wait_until

KILL_KUBELET, KILL_APISERVER, HEAL = (f"MAKERFLOW_TEST_{name}" for name in ("KILL_KUBELET", "KILL_APISERVER", "HEAL"))


class Infrastructure:
    """What may be killed, and what makes it whole again."""

    def __init__(self) -> None:
        self.is_whole = True

    def kill_kubelet(self, node: str) -> None:
        self._kill(os.environ[KILL_KUBELET].replace("{node}", node))

    def kill_kubelets(self) -> None:
        for node in nodes():
            self.kill_kubelet(node)

    def kill_apiserver(self) -> None:
        self._kill(os.environ[KILL_APISERVER])

    def heal(self) -> None:
        _run(os.environ[HEAL])
        wait_until(lambda: all(map(_is_in_use, _nodes())), "all nodes to be in use again")
        self.is_whole = True

    def _kill(self, command: str) -> None:
        self.is_whole = False
        _run(command)


@contextmanager
def breakable_infrastructure() -> Iterator[Infrastructure]:
    """Whole again afterwards, however the test ends; it is skipped where nobody says how to break something."""
    for name in (KILL_KUBELET, KILL_APISERVER, HEAL):
        if not os.environ.get(name):
            pytest.skip(f"{name} names no command")
    infrastructure = Infrastructure()
    try:
        yield infrastructure
    finally:
        if not infrastructure.is_whole:
            infrastructure.heal()


def nodes() -> list[str]:
    """The names of the nodes on which containers really run."""
    return sorted(node["metadata"]["name"] for node in _nodes())


def require_two_nodes() -> None:
    """The test is skipped on fewer."""
    if len(nodes()) < 2:
        pytest.skip("the cluster has one node, and the workers are to be on two")


def _nodes() -> list[dict[str, Any]]:
    found = json.loads(kubectl("get", "nodes", "--selector", "type!=kwok", "--output", "json"))
    return list(found["items"])


def _is_in_use(node: dict[str, Any]) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    return ready and not any(t["key"].startswith("node.kubernetes.io/") for t in node["spec"].get("taints", ()))


def _run(command: str) -> None:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
