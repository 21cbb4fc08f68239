"""What Kubernetes runs cost, beside plain Jobs that `kubectl` makes: until the first line, for each trial, to follow.

1. From asking to the entry point's first line: a plain Job of one container, and ours with its two more (target: at
   most 2 s more with nothing to stage but the code).
2. Each of many short runs, so many at once: Jobs of a shell loop, and ours launched, followed and removed.
3. One process that follows very many runs, on simulated nodes (label `type=kwok`) where the cluster has some: memory,
   connections and requests are to be flat.

Run it: `python -m tests.benchmarks.bench_kubernetes [--short]`, with KUBECONFIG and MAKERFLOW_TEST_IMAGE.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes.cluster import CLUSTER
from blocks.domain.plan import PodShape, RunHandle, RunPlan, Toleration
from tests.contract.cluster_contract import texts, until_over
from tests.contract.test_kubernetes_cluster import KubernetesSite
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.servers import moto_server
from tests.waiting import wait_for, wait_until

PROGRAM = "import time\nprint(time.time(), flush=True)\n"
SIMULATED = PodShape(
    requests={"cpu": "100m"},
    node_selector={"type": "kwok"},
    tolerations=(Toleration(key="kwok.x-k8s.io/node", operator="Exists"),),
)


def main() -> int:
    """Measure; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few runs of each kind")
    short = parser.parse_args().short
    try:
        with kubernetes_namespace() as namespace, moto_server(namespace.this_machine) as server:
            site = KubernetesSite(namespace, server)
            _report_start(namespace, site, 2 if short else 9)
            _report_trials(namespace, site, 4 if short else 40, 2 if short else 8)
            _report_following(site, 10 if short else 1000)
    except pytest.skip.Exception as reason:
        print(f"Nothing was measured: {reason}.")
    return 0


def _report_start(namespace: TestNamespace, site: KubernetesSite, rounds: int) -> None:
    """Both, one after the other, so that what else the machine does meets both."""
    cluster, plain, own = site.connect(), [], []
    for number in range(rounds):
        plain.append(_plain_start(namespace, f"start-{number}"))
        plan, began = site.plan(PROGRAM), time.time()
        handle = cluster.launch(plan)
        until_over(cluster, handle)
        own.append(float(texts(cluster, handle)[0]) - began)
        cluster.remove(handle)
    more = statistics.median(own) - statistics.median(plain)
    print(f"until the first line: plain Job {_spread(plain)}, ours {_spread(own)}: {more:.2f} s more (target: 2)")


def _plain_start(namespace: TestNamespace, name: str) -> float:
    began = time.time()
    _kubectl(namespace, "apply", "-f", "-", given=_plain_job(namespace, name))

    def first_line() -> float | None:
        said = _kubectl(namespace, "logs", f"job/{name}", fails=True).strip()
        return float(said) if said else None

    return wait_for(first_line, "the plain Job's line", 60) - began


def _report_trials(namespace: TestNamespace, site: KubernetesSite, count: int, parallel: int) -> None:
    cluster = site.connect()
    plans = [site.plan(PROGRAM) for _ in range(count)]

    def by_shell(number: int) -> None:
        name = f"trial-{number}"
        _kubectl(namespace, "apply", "-f", "-", given=_plain_job(namespace, name))
        _kubectl(namespace, "wait", "--for=condition=complete", f"job/{name}", "--timeout=120s")
        _kubectl(namespace, "delete", f"job/{name}", "--wait=false")

    def ours(number: int) -> None:
        handle = cluster.launch(plans[number])
        until_over(cluster, handle)
        cluster.remove(handle)

    shell, own = _seconds_each(by_shell, count, parallel), _seconds_each(ours, count, parallel)
    print(
        f"{count} trials, {parallel} at once: shell loop {shell:.2f} s each, ours {own:.2f} s each: "
        f"ratio {own / shell:.2f}, {own - shell:.2f} s more"
    )


def _seconds_each(work: Callable[[int], None], count: int, parallel: int) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(work, range(count)))
    return (time.monotonic() - began) / count


def _report_following(site: KubernetesSite, count: int) -> None:
    """Launch and follow so many runs on simulated nodes."""
    from kubernetes import client

    if not client.CoreV1Api().list_node(label_selector="type=kwok").items:
        print("following: the cluster has no simulated nodes")
        return
    cluster, me = site.connect(), psutil.Process()
    base, ended = site.plan(PROGRAM), {}
    before = Counter(cluster.requests)

    def follow() -> None:
        for event in cluster.watch(Selector(labels={"many": "yes"}), idle_seconds=5):
            if event is not None and event.kind == "finished":
                ended[event.run_id] = event.cause.value

    threading.Thread(target=follow, daemon=True).start()
    began = time.monotonic()
    for number in range(count):
        cluster.launch(_simulated(base, number))
        if number + 1 in (count // 10, count // 2, count):
            _say_size(me, number + 1, len(ended), time.monotonic() - began)
    wait_until(lambda: len(ended) == count, "all runs to end", 600)
    _say_size(me, count, len(ended), time.monotonic() - began)
    requests = Counter(cluster.requests) - before
    print(
        f"requests per run: {sum(requests.values()) / count:.1f} ({dict(requests)}); ended: {Counter(ended.values())}"
    )
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda run: cluster.remove(RunHandle(cluster=CLUSTER, run_id=run)), ended))
    print("removed all:", end=" ")
    _say_size(me, count, len(ended), time.monotonic() - began)


def _simulated(base: RunPlan, number: int) -> RunPlan:
    return base.model_copy(update={"run_id": f"many-{number}", "pod": SIMULATED, "labels": {"many": "yes"}})


def _say_size(me: psutil.Process, launched: int, ended: int, seconds: float) -> None:
    memory, connections = me.memory_info().rss >> 20, len(me.net_connections())
    print(
        f"{launched} launched, {ended} ended after {seconds:.0f} s: {memory} MiB, {connections} connections, "
        f"{me.num_threads()} threads",
        flush=True,
    )


def _plain_job(namespace: TestNamespace, name: str) -> str:
    container = {
        "name": "worker",
        "image": namespace.image,
        "command": ["python", "-c", PROGRAM],
        "resources": {"requests": {"cpu": "50m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return json.dumps(job | {"spec": {"backoffLimit": 0, "template": {"spec": spec}}})


def _kubectl(namespace: TestNamespace, *arguments: str, given: str = "", fails: bool = False) -> str:
    command = ["kubectl", "--namespace", namespace.name, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=not fails).stdout


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    sys.exit(main())
