"""What a run asks of the API server, and the short form of the benchmark."""

import subprocess
import sys
from collections import Counter

import pytest

from blocks.cluster.base import Selector
from tests.contract.cluster_contract import QUICK, texts, until_over
from tests.contract.test_kubernetes_cluster import KubernetesSite
from tests.kubernetes import kubernetes_namespace, require_kubernetes
from tests.servers import moto_server

pytestmark = pytest.mark.kubernetes

MOST_REQUESTS = 20
"""For one training, launched, followed with its output, and removed; the watches are the process's."""


def test_a_training_asks_little_of_the_api_server(capsys: pytest.CaptureFixture[str]) -> None:
    with kubernetes_namespace() as namespace, moto_server(namespace.this_machine) as server:
        site = KubernetesSite(namespace, server)
        cluster = site.connect()
        assert cluster.find(Selector()) == []
        before = Counter(cluster.requests)
        runs = 3
        for _ in range(runs):
            handle = cluster.launch(site.plan(QUICK))
            until_over(cluster, handle)
            assert texts(cluster, handle) == ["first", "second"]
            cluster.remove(handle)
        requests = Counter(cluster.requests) - before
    with capsys.disabled():
        print(f"\nAPI requests per training: {sum(requests.values()) / runs:.1f} {dict(requests)}")
    assert sum(requests.values()) <= MOST_REQUESTS * runs


@pytest.mark.timeout(600)
def test_the_benchmark_runs_in_its_short_form() -> None:
    require_kubernetes()
    command = [sys.executable, "-m", "tests.benchmarks.bench_kubernetes", "--short"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)
    assert ended.returncode == 0, ended
    assert "until the first line" in ended.stdout
    assert "trials" in ended.stdout
