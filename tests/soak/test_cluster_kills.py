"""Parts of a Kubernetes are killed at random moments of a run: it ends well, and nothing is left of it.

MAKERFLOW_TEST_SEED is the seed of another campaign, to have the same faults again.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from blocks.domain.plan import ExitCause, PlannedOutput, RunEvent, RunHandle
from tests.contract.test_kubernetes_cluster import STORE, KubernetesSite, swept_site
from tests.integration.kubernetes.cluster import kubectl
from tests.integration.kubernetes.infrastructure import Infrastructure, breakable_infrastructure, nodes
from tests.integration.kubernetes.test_faults import evict, pods_of
from tests.integration.kubernetes.test_node_faults import events_until, is_gapless
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.servers import S3Server, moto_server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SEED = int(os.environ.get("MAKERFLOW_TEST_SEED", time.time()))
FAULTS = ("apiserver", "kubelet", "kubelets", "eviction", "deletion", "node")
LONGEST_OUTAGE_SECONDS = 12.0
STEPS = 24
TRAIN = f"""
import os, time
from pathlib import Path
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
done = max((int(file.stem) for file in Path(given).rglob("*.txt")), default=0) if given else 0
print("from", done, flush=True)
for step in range(done + 1, {STEPS} + 1):
    if os.environ["RANK"] == "0":
        half = Path(os.environ["EM_CHECKPOINT_DIR"], f"{{step}}.part")
        half.write_text(str(step))
        half.rename(half.with_suffix(".txt"))
    print("step", step, flush=True)
    time.sleep(0.4)
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def store(namespace: TestNamespace) -> Iterator[S3Server]:
    with moto_server(namespace.this_machine) as server:
        yield server


@pytest.fixture
def site(namespace: TestNamespace, store: S3Server) -> Iterator[KubernetesSite]:
    yield from swept_site(namespace, store)


@pytest.fixture
def infrastructure(site) -> Iterator[Infrastructure]:
    with breakable_infrastructure() as made:
        yield made


@pytest.mark.parametrize("number", range(24))
def test_a_run_outlives_any_one_fault(site, namespace, infrastructure, number):
    chance = random.Random(f"{SEED}/{number}")
    fault, after = FAULTS[number % len(FAULTS)], chance.uniform(0.0, 14.0)
    print(f"seed {SEED}, number {number}: {fault} after {after:.1f} s")
    cluster = site.connect()
    place = f"{site.bucket_path}/outputs-{number}"
    outputs = [PlannedOutput(kind=kind, path=f"{place}/{kind}", connection=STORE) for kind in ("checkpoint", "log")]
    plan = site.plan(TRAIN, workers=2, outputs=outputs, resources={"vcpus": 0.5, "memory_mib": 128})
    breaking = threading.Timer(after, partial(break_once, namespace, infrastructure, fault, chance, plan.run_id))
    breaking.start()
    handle = cluster.launch(plan)
    events = events_until(cluster, handle, "finished", seconds=200)
    breaking.join()
    log = site.read(f"{place}/log/output.log").decode().split("\n")
    check(events, [line for line in log if line.startswith(("from", "step"))])
    assert site.read(f"{place}/checkpoint/{STEPS}.txt") == str(STEPS).encode()


def break_once(
    namespace: TestNamespace, infrastructure: Infrastructure, fault: str, chance: random.Random, run_id: str
) -> None:
    """One fault; what is only away comes back after a while, but for a lost node."""
    node = chance.choice(nodes())
    if fault in ("eviction", "deletion"):
        pods = pods_of(namespace, RunHandle(cluster="kubernetes", run_id=run_id))
        if pods and fault == "eviction":
            evict(namespace, chance.choice(pods))
        elif pods:
            kubectl("-n", namespace.name, "delete", chance.choice(pods), "--force", "--wait=false")
        return
    if fault == "apiserver":
        infrastructure.kill_apiserver()
    elif fault == "kubelets":
        infrastructure.kill_kubelets()
    else:
        infrastructure.kill_kubelet(node)
    if fault != "node":
        time.sleep(chance.uniform(0.0, LONGEST_OUTAGE_SECONDS))
        infrastructure.heal()


def check(events: list[RunEvent], lines: list[str]) -> None:
    """It ended well; without a restart every line is there once, else those of the last attempt are."""
    assert is_gapless(events)
    assert events[-1].cause is ExitCause.OK, events
    restarts = sum(event.kind == "restarted" for event in events)
    assert restarts <= 1, events
    begin = max(number for number, line in enumerate(lines) if line.startswith("from"))
    assert restarts or begin == 0, lines
    done = int(lines[begin].split()[1])
    assert lines[begin + 1 :] == [f"step {step}" for step in range(done + 1, STEPS + 1)]
