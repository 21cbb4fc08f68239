"""Parts of the cluster itself are killed under runs: a node for good, the kubelets and the API server for a while."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.resources import files

import pytest

from blocks.cluster.base import Cluster, Selector
from blocks.cluster.kubernetes.names import RUN, rank_of, run_name
from blocks.domain.paths import StoragePath
from blocks.domain.plan import ExitCause, PlannedInput, PlannedOutput, RunEvent, RunHandle, RunPlan
from blocks.launcher.pod_fence import ATTEMPTS
from blocks.storage.open import open_storage
from deployments.demo_store import objects
from tests.contract.cluster_contract import QUICK, SLOW, texts, until_it_prints, until_over
from tests.contract.test_kubernetes_cluster import STORE, KubernetesSite, objects_in
from tests.integration.kubernetes.cluster import kubectl
from tests.integration.kubernetes.infrastructure import Infrastructure, breakable_infrastructure, require_two_nodes
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.servers import S3Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.kubernetes, pytest.mark.disruptive]

SMALL = {"vcpus": 0.5, "memory_mib": 192}
LOST_SECONDS = 180.0
"""For a node to be missed, for its pods to be given up, and for all workers to start again and end."""

UPLOAD_SECONDS = 2.0
"""For what is being uploaded when its worker is fenced off."""

STEP = """
import os, socket, time
from pathlib import Path

def go(step):
    half = Path(os.environ["EM_CHECKPOINT_DIR"], f"{step}.part")
    half.write_text(str(step))
    half.rename(half.with_suffix(".txt"))
    print("step", step, flush=True)
    time.sleep(0.5)
"""
STEPS = 64
PRINTS = f"{STEP}\nfor step in range(1, {STEPS} + 1): go(step)\n"

LAST_STEP = 30
BREAKS_OFF = f"""{STEP}
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
done = max(int(file.stem) for file in Path(given).rglob("*.txt")) if given else 0
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print("from", done, flush=True)
if os.environ["RANK"] == "0":
    peer = socket.create_server(("", address[1])).accept()[0]
else:
    while True:
        try:
            peer = socket.create_connection(address)
            break
        except OSError:
            time.sleep(0.1)
for step in range(done + 1, done + 3 if given else {LAST_STEP} + 1):
    go(step)
if not given and os.environ["RANK"] == "1":  # as if its machine had lost its power
    peer.close()
    for number in range(1200):  # and it goes on, as only its kubelet is dead
        Path(os.environ["EM_CHECKPOINT_DIR"], "late").mkdir(exist_ok=True)
        Path(os.environ["EM_CHECKPOINT_DIR"], "late", str(number)).write_text(str(time.time()))
        time.sleep(0.5)
if not given and not peer.recv(1):
    raise ConnectionError("another worker is gone")
"""

TELLS_WEIGHTS = """
import hashlib
learned = []
begin = Training.begin
Training.begin = lambda network: learned.append(begin(network)) or learned[0]
main()
print("weights", hashlib.sha256(learned[0].network.weights.tobytes()).hexdigest(), flush=True)
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace() as made:
        yield made


@pytest.fixture
def infrastructure(site, pool) -> Iterator[Infrastructure]:
    """Whole again before the site is swept, which sees that nothing is left then, either."""
    with breakable_infrastructure() as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def with_outputs(site: KubernetesSite, program: str, **changes: object) -> RunPlan:
    place = f"{site.bucket_path}/outputs-{time.time_ns()}"
    outputs = [PlannedOutput(kind=kind, path=f"{place}/{kind}", connection=STORE) for kind in ("checkpoint", "log")]
    return site.plan(program, outputs=outputs, resources=SMALL, **changes)


def on_node(plan: RunPlan, node: str) -> RunPlan:
    shape = plan.pod.model_copy(update={"node_selector": {"kubernetes.io/hostname": node}})
    return plan.model_copy(update={"pod": shape})


def nodes_of(namespace: TestNamespace, handle: RunHandle) -> dict[int, str]:
    """Rank to the node of its pod."""
    selector = f"{RUN}={run_name(handle.run_id)}"
    found = json.loads(kubectl("-n", namespace.name, "get", "pods", "--selector", selector, "--output", "json"))
    return {rank_of(pod): pod["spec"]["nodeName"] for pod in found["items"]}


def objects_of(namespace: TestNamespace, handle: RunHandle) -> list[str]:
    run = run_name(handle.run_id)
    return [name for name in objects_in(namespace.name) if name == run or name.startswith(f"{run}-")]


def events_until(cluster: Cluster, handle: RunHandle, *kinds: str, seconds: float = 60) -> list[RunEvent]:
    """All events up to the first one of these kinds."""
    found: list[RunEvent] = []
    deadline = time.monotonic() + seconds
    for event in cluster.watch(Selector(run_id=handle.run_id), idle_seconds=1):
        if time.monotonic() > deadline:
            pytest.fail(f"{cluster.find(Selector())}, {[(e.kind, e.at) for e in found]}")
        if event is not None:
            found.append(event)
            if event.kind in kinds:
                break
    return found


def digits(site: KubernetesSite, store: S3Server) -> list[PlannedInput]:
    """The datasets of the demo."""
    root = f"obs://{store.address}/{store.make_bucket(objects())}/digits"
    found = []
    for name in ("train", "test"):
        path = StoragePath.parse(f"{root}/{name}")
        listed = tuple(open_storage(path, site.connection).plan(path))
        found.append(PlannedInput(kind="dataset", name=name, path=str(path), connection=STORE, objects=listed))
    return found


def is_gapless(events: list[RunEvent]) -> bool:
    return [event.sequence for event in events] == list(range(1, len(events) + 1))


@pytest.mark.soak  # it takes more than a minute
@pytest.mark.req("TRN-08", "COM-04")
def test_a_lost_node_has_all_go_on_elsewhere_from_their_checkpoints_and_holds_nothing_up(
    site, cluster, namespace, infrastructure, pool
):
    require_two_nodes()
    plan = with_outputs(site, BREAKS_OFF, workers=2)
    handle = cluster.launch(plan)
    events_until(cluster, handle, "checkpointed")
    nodes = nodes_of(namespace, handle)
    assert len(set(nodes.values())) == 2, "Kubernetes' scheduler spreads the pods of one Service"
    alone = cluster.launch(on_node(site.plan(SLOW, resources=SMALL), nodes[1]))
    until_it_prints(cluster, alone)
    infrastructure.kill_kubelet(nodes[1])
    stopping = pool.submit(cluster.stop, alone, 1)

    events = events_until(cluster, handle, "finished", seconds=LOST_SECONDS)
    assert is_gapless(events)
    assert events[-1].cause is ExitCause.OK
    failed, lost = (e.record for e in events if e.kind == "exited" and e.record.attempt == 1)
    assert (failed.rank, failed.cause) == (0, ExitCause.USER_ERROR)
    assert (lost.rank, lost.cause) == (1, ExitCause.LOST)
    assert f"Its node {nodes[1]} does not answer any more. Have it brought back" in lost.message
    assert [e.cause for e in events if e.kind == "restarted"] == [f"Worker 1: {lost.message}"]
    assert [e.where for e in events if e.kind == "placed"][1:] == [f"node {nodes[0]}"]
    log = site.read(plan.outputs[1].path + "/output.log").decode().splitlines()
    steps = [f"step {step}" for step in range(1, LAST_STEP + 3)]
    assert [line for line in log if line.startswith(("from", "step"))] == [
        "from 0", *steps[:LAST_STEP], f"from {LAST_STEP}", *steps[LAST_STEP:],
    ]  # fmt: skip
    uploads = open_storage(StoragePath.parse(plan.outputs[0].path), site.connection)
    [mark] = uploads.entries(StoragePath.parse(plan.outputs[1].path) / ATTEMPTS)
    late = list(uploads.entries(StoragePath.parse(plan.outputs[0].path) / "worker-1" / "late"))
    assert late, "its containers lived on"
    assert max(entry.modified for entry in late) - mark.modified < timedelta(seconds=UPLOAD_SECONDS)
    assert events[-1].at - mark.modified > timedelta(seconds=UPLOAD_SECONDS), "it was to show that they were fenced off"

    assert stopping.result(LOST_SECONDS).remaining == 1, "nobody knows of the pod that does not answer"
    assert until_over(cluster, alone)[-1].cause is ExitCause.STOPPED
    for each in (handle, alone):
        cluster.remove(each)
    wait_until(lambda: objects_in(namespace.name) == [], "all objects to be gone, although the node is away")


@pytest.mark.req("COM-04")
def test_an_api_server_and_kubelets_that_are_killed_and_come_back_cost_runs_nothing(
    site, cluster, namespace, infrastructure, pool
):
    """Under each kill one run goes on, one is launched, and one is removed."""
    plan = with_outputs(site, PRINTS, workers=2)
    going_on, other = cluster.launch(plan), cluster.launch(site.plan(QUICK, resources=SMALL))
    following = pool.submit(events_until, cluster, going_on, "finished")
    reading = [pool.submit(texts, cluster, going_on, rank, follow=True) for rank in (0, 1)]
    until_over(cluster, other)
    events_until(cluster, going_on, "checkpointed")
    for kill in (infrastructure.kill_apiserver, infrastructure.kill_kubelets):
        kill()
        assert not following.done(), "the kill was to come while it runs"
        healing = pool.submit(infrastructure.heal)
        removing, removed = pool.submit(cluster.remove, other), other
        other = cluster.launch(site.plan(QUICK, workers=2, resources=SMALL))
        healing.result(60)
        removing.result(60)
        events = until_over(cluster, other)
        assert is_gapless(events)
        assert events[-1].cause is ExitCause.OK
        assert texts(cluster, other) == ["first", "second"]
        wait_until(lambda run=removed: not objects_of(namespace, run), "the objects of the removed run to be gone")

    events = following.result(60)
    assert is_gapless(events)
    assert [e.kind for e in events if e.kind in ("started", "restarted", "finished")] == ["started", "finished"]
    assert events[-1].cause is ExitCause.OK
    numbers = range(1, STEPS + 1)
    assert [found.result(60) for found in reading] == [[f"step {number}" for number in numbers]] * 2
    place = plan.outputs[0].path
    written = [site.read(f"{place}/{of}{number}.txt").decode() for of in ("", "worker-1/") for number in numbers]
    assert written == [str(number) for number in numbers] * 2


@pytest.mark.req("TRN-05", "TRN-19")
def test_workers_on_two_nodes_learn_the_same_weights_in_data_parallel(site, cluster, namespace, store):
    """The demo's own code: workers that average gradients, over sockets to the name of worker 0."""
    require_two_nodes()
    code = files("deployments").joinpath("demo_code", "train.py").read_text().partition("\nif __name__")[0]
    plan = site.plan(code + TELLS_WEIGHTS, workers=2, resources=SMALL, hyperparameters={"epochs": "8"})
    handle = cluster.launch(plan.model_copy(update={"inputs": (*plan.inputs, *digits(site, store))}))
    assert until_over(cluster, handle)[-1].cause is ExitCause.OK
    assert len(set(nodes_of(namespace, handle).values())) == 2
    told = [texts(cluster, handle, rank) for rank in (0, 1)]
    assert [lines[0] for lines in told] == [f"worker {rank} of 2 learns from 718 of 1437 rows" for rank in (0, 1)]
    assert told[0][-1].startswith("weights ")
    assert told[0][-1] == told[1][-1]
    assert float(told[0][-2].rpartition("=")[2]) > 0.9, "the accuracy on images that no worker has seen"
