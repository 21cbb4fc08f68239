"""What is done to runs behind the platform's back, on a real cluster: each ends right, and nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes.names import job_name, run_name
from blocks.cluster.uploaded_log import BEGINS
from blocks.connections.platform import open_platform
from blocks.domain.catalogues import BUILT_IN
from blocks.domain.errors import CapacityError, NotFoundError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.paths import StoragePath
from blocks.domain.plan import ExitCause, PlannedOutput, Resources, RunHandle, RunPhase, RunPlan
from blocks.storage.open import open_storage
from tests.contract.cluster_contract import SLOW, state_of, texts, until, until_it_prints, until_over
from tests.contract.test_kubernetes_cluster import STORE, KubernetesSite, objects_in
from tests.kubernetes import TestNamespace, kubernetes_namespace
from tests.waiting import wait_until

pytestmark = pytest.mark.kubernetes

COUNTS = """
import os, time
from pathlib import Path
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
done = max((int(f.stem) for f in Path(given).rglob("*.txt")), default=0) if given else 0
print("from", done, "rank", os.environ["RANK"], flush=True)
for step in range(done + 1, done + 400):
    half = Path(os.environ["EM_CHECKPOINT_DIR"], f"{step}.part")
    half.write_text("x")
    half.rename(half.with_suffix(".txt"))
    print("step", step, flush=True)
    if Path(os.environ["EM_SOURCE_DIR"], "end").exists() or step >= 400:
        break
    time.sleep(0.5)
"""
LEARNS = """
import os, time
print("begins", flush=True)
for step in range(1, 21):
    print(f"step={step} loss={1 / step}", flush=True)
    while step == 10 and not os.path.exists("/tmp/goes-on"):
        time.sleep(0.2)
"""
LEARNS_IN_TWO_ATTEMPTS = """
import os, time
from pathlib import Path
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
done = 10 if given and list(Path(given).rglob("10.txt")) else 0
for step in range(done + 1, done + 11):
    print(f"step={step} loss={1 / step}", flush=True)
    while step == 3 and not os.path.exists("/tmp/goes-on"):
        time.sleep(0.2)
Path(os.environ["EM_CHECKPOINT_DIR"], "10.txt").write_text("x")
while not done:
    time.sleep(1)
"""
TRAIN = """
import sys
from flows.training import create_training
create_training(dict(name=sys.argv[3], algorithm=sys.argv[1], entry_point="train.py", output=sys.argv[2] + "/out",
    checkpoint_output=sys.argv[2] + "/checkpoints", workers=int(sys.argv[4])))
"""
SAVES_AT_ITS_END = """
import os, signal, sys, time
from pathlib import Path
def save(*_):
    time.sleep(int(sys.argv[sys.argv.index("--seconds") + 1]))
    Path(os.environ["EM_CHECKPOINT_DIR"], "last.txt").write_text("x")
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
for step in range(1000):
    print(f"step={step} loss=1", flush=True)
    time.sleep(0.2)
"""
SAVE = """
import sys
from flows.training import create_training
create_training(dict(name=sys.argv[1], algorithm=sys.argv[2], entry_point="train.py", output=sys.argv[3] + "/out",
    checkpoint_output=sys.argv[3] + "/checkpoints", hyperparameters=[dict(name="seconds", value=sys.argv[4])]))
"""
ENDS_BEFORE_THE_OTHER = """
import os, sys, time
from pathlib import Path
given, rank = os.environ.get("EM_CHECKPOINT_INPUT_DIR"), os.environ["RANK"]
attempt = 2 if given and list(Path(given).rglob("again")) else 1
Path(os.environ["EM_MODEL_DIR"], f"of-attempt-{attempt}").write_text(rank)
print("done", flush=True)
if rank == "1" and attempt == 1:
    Path(os.environ["EM_CHECKPOINT_DIR"], "again").write_text("x")
    while not os.path.exists("/tmp/fail"):
        time.sleep(0.1)
    sys.exit(9)
"""
FAIL = "open('/tmp/fail', 'w')"
HUNGRY = "print('eats', flush=True)\nfood = bytearray(4 << 30)\nfor n in range(0, len(food), 4096): food[n] = 1\n"


@pytest.fixture(scope="module")
def namespace() -> Iterator[TestNamespace]:
    with kubernetes_namespace({"requests.cpu": "400m"}) as made:
        yield made


def kubectl(namespace: TestNamespace, *arguments: str) -> str:
    command = ["kubectl", "--namespace", namespace.name, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def succeeds(namespace: TestNamespace, *arguments: str) -> bool:
    try:
        kubectl(namespace, *arguments)
    except subprocess.CalledProcessError:
        return False
    return True


def pods_of(namespace: TestNamespace, handle: RunHandle) -> list[str]:
    names = kubectl(namespace, "get", "pods", "-l", f"makerflow.io/run={run_name(handle.run_id)}", "-o", "name")
    return sorted(names.split())


def evict(namespace: TestNamespace, pod: str) -> None:
    from kubernetes import client, config

    config.load_kube_config()
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.removeprefix("pod/")))
    client.CoreV1Api().create_namespaced_pod_eviction(pod.removeprefix("pod/"), namespace.name, body)


def with_checkpoints(site: KubernetesSite, program: str, **changes: object):
    place = f"{site.bucket_path}/checkpoints-{time.time_ns()}"
    outputs = [PlannedOutput(kind=kind, path=f"{place}/{kind}", connection=STORE) for kind in ("checkpoint", "log")]
    return site.plan(program, outputs=outputs, **changes)


def with_model(site: KubernetesSite) -> RunPlan:
    place = f"{site.bucket_path}/outputs-{time.time_ns()}"
    outputs = [PlannedOutput(kind=kind, path=f"{place}/{kind}", connection=STORE) for kind in ("model", "checkpoint")]
    return site.plan(ENDS_BEFORE_THE_OTHER, workers=2, outputs=outputs)


def uploaded(site: KubernetesSite, plan: RunPlan, kind: str) -> list[str]:
    (output,) = (output for output in plan.outputs if output.kind == kind)
    place = StoragePath.parse(output.path)
    return [entry.key for entry in open_storage(place, site.connection).entries(place, recursive=True)]


@pytest.mark.req("TRN-05")
def test_there_is_no_model_of_a_training_of_which_one_worker_failed_after_others_had_ended_well(
    site, cluster, namespace
):
    plan = with_model(site)
    handle = cluster.launch(plan)
    until_it_prints(cluster, handle)
    wait_until(lambda: texts(cluster, handle, 1) == ["done"], "the other worker")
    kubectl(namespace, "exec", pods_of(namespace, handle)[1], "-c=worker", "--", "python", "-c", FAIL)
    last = until_over(cluster, handle)[-1]
    assert (last.cause, last.message) == (ExitCause.USER_ERROR, "Worker 1: The entry point exited with code 9: done")
    assert uploaded(site, plan, "model") == []


@pytest.mark.req("TRN-08")
def test_a_worker_that_ended_well_and_is_evicted_before_the_others_have_has_all_start_again(site, cluster, namespace):
    plan = with_model(site)
    handle = cluster.launch(plan)
    until_it_prints(cluster, handle)
    wait_until(lambda: texts(cluster, handle, 1) == ["done"], "the other worker")
    wait_until(lambda: uploaded(site, plan, "checkpoint") == ["worker-1/again"], "its checkpoint")
    evict(namespace, pods_of(namespace, handle)[0])
    events = until_over(cluster, handle)
    assert events[-1].cause is ExitCause.OK
    assert [event.attempt for event in events if event.kind == "started"] == [1, 2]
    assert uploaded(site, plan, "model") == ["of-attempt-2", "worker-1/of-attempt-2"]


@pytest.mark.req("COM-04", "TRN-19")
def test_a_service_that_somebody_deletes_under_workers_is_made_again_and_they_find_each_other(site, cluster, namespace):
    handle = cluster.launch(site.plan("print('done', flush=True)", workers=2))
    events = cluster.watch(Selector(run_id=handle.run_id), idle_seconds=60)
    assert next(event for event in events if event is None or event.kind == "placed")
    kubectl(namespace, "delete", "service", run_name(handle.run_id))
    assert until_over(cluster, handle)[-1].cause is ExitCause.OK


@pytest.mark.req("TRN-08", "COM-04")
def test_an_evicted_worker_has_all_go_on_from_their_checkpoints(site, cluster, namespace):
    plan = with_checkpoints(site, COUNTS, workers=2, resources={"vcpus": 1, "memory_mib": 128})
    handle = cluster.launch(plan)
    events = cluster.watch(Selector(run_id=handle.run_id), idle_seconds=60)
    seen = [next(e for e in events if e is None or e.kind == "checkpointed")]
    wait_until(lambda: "output.log" in uploaded(site, plan, "log"), "the log to be at its place while it grows", 60)
    evict(namespace, pods_of(namespace, handle)[1])
    for event in events:
        seen.append(event)
        if event is None or (event.kind == "started" and event.attempt == 2):
            break
    lost = [e.record for e in seen if e and e.kind == "exited" and e.record.cause is ExitCause.LOST]
    assert [record.rank for record in lost] == [1]
    assert "evict" in lost[0].message.lower()
    until_it_prints(cluster, handle)
    wait_until(lambda: any(started_from(cluster, handle)), "the second attempt to go on from a checkpoint", 60)
    cluster.stop(handle, 1)
    assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED
    log = site.read(plan.outputs[1].path + "/output.log").decode()
    assert log.count("from") == 2, "the log of both attempts"


def started_from(cluster, handle) -> list[int]:
    return [int(line.split()[1]) for line in texts(cluster, handle) if line.startswith("from")]


def test_a_worker_that_runs_out_of_memory_is_tried_once_more_and_says_what_to_do(site, cluster):
    handle = cluster.launch(site.plan(HUNGRY, resources=Resources(vcpus=1, memory_mib=200)))
    events = until_over(cluster, handle)
    exits = [event.record for event in events if event.kind == "exited"]
    assert [record.cause for record in exits] == [ExitCause.OUT_OF_MEMORY] * 2
    assert events[-1].cause is ExitCause.OUT_OF_MEMORY
    assert "flavor with more memory" in events[-1].message


def test_a_job_that_somebody_deletes_ends_the_run_and_says_so(site, cluster, namespace):
    handle = cluster.launch(site.plan(SLOW))
    until_it_prints(cluster, handle)
    kubectl(namespace, "delete", "job", job_name(handle.run_id, 1), "--wait=false")
    events = until_over(cluster, handle)
    assert events[-1].cause is ExitCause.LOST
    assert "deleted" in events[-1].message
    assert state_of(cluster, handle).phase is RunPhase.FINISHED


def test_a_quota_of_jobs_that_is_used_up_is_waited_for_and_one_that_has_none_is_refused(site, cluster, namespace):
    first, plan = cluster.launch(site.plan(SLOW)), site.plan(SLOW)
    until_it_prints(cluster, first)
    kubectl(namespace, "create", "quota", "jobs", "--hard=count/jobs.batch=1")
    try:
        wait_until(lambda: "1/1" in kubectl(namespace, "get", "quota", "jobs"), "the quota to be counted", 30)
        second = cluster.launch(plan)
        for _ in range(2):
            assert cluster.launch(plan) == second
        assert state_of(cluster, second).phase is RunPhase.LOST, "it is launched again by who follows it"
        queued = next(cluster.watch(Selector(run_id=second.run_id), idle_seconds=10))
        assert queued.reason.startswith("waiting for 1 Job: 1 of 1 are used, which is the quota jobs")
        cluster.stop(first, 0)
        cluster.remove(first)
        wait_until(lambda: cluster.launch(plan) and state_of(cluster, second).phase is not RunPhase.LOST, "room", 30)
        until_it_prints(cluster, second)
        cluster.stop(second, 0)
        kinds = [event.kind for event in until_over(cluster, second)]
        assert kinds.count("queued") == 1
        kubectl(namespace, "patch", "quota", "jobs", "-p", '{"spec": {"hard": {"count/jobs.batch": "0"}}}')
        with pytest.raises(CapacityError, match="0 Job by its quota jobs"):
            cluster.launch(site.plan(SLOW))
    finally:
        kubectl(namespace, "delete", "quota", "jobs")


def test_a_record_that_somebody_deletes_takes_all_with_it(site, cluster, namespace):
    handle = cluster.launch(site.plan(SLOW))
    until_it_prints(cluster, handle)
    kubectl(namespace, "delete", "configmap", run_name(handle.run_id))
    wait_until(lambda: cluster.find(Selector()) == [], "the run to be gone", 60)
    with pytest.raises(NotFoundError):
        cluster.read_output(handle, 0, since=0, at_most=100)
    wait_until(lambda: objects_in(namespace.name) == [], "its objects to be gone", 60)
    assert cluster.stop(handle, 1).remaining == 0


@pytest.mark.req("COM-04")
def test_a_run_outlives_who_launched_it_and_the_next_one_follows_it_to_its_end(site, cluster, namespace):
    plan = site.plan("import time\nfor n in range(12): print('line', n, flush=True); time.sleep(0.5)\n")
    program = """
import sys
from blocks.cluster.base import Selector
from blocks.cluster.kubernetes.cluster import KubernetesCluster
from blocks.cluster.kubernetes.manifests import Site
from blocks.domain.plan import RunPlan
import json
plan, image, namespace, secrets = sys.argv[1:]
cluster = KubernetesCluster(Site(image=image), namespace)
handle = cluster.launch(RunPlan.model_validate_json(plan), json.loads(secrets))
for event in cluster.watch(Selector(run_id=handle.run_id)):
    print(event.kind, flush=True)
"""
    secrets = json.dumps({STORE: site.connection.to_mapping()})
    command = [sys.executable, "-c", program, plan.model_dump_json(), namespace.image, namespace.name, secrets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any("started" in line for line in process.stdout)
        os.kill(process.pid, signal.SIGKILL)
    handle = RunHandle(cluster="kubernetes", run_id=plan.run_id)
    events = until_over(cluster, handle)
    assert events[-1].cause is ExitCause.OK
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert texts(cluster, handle) == [f"line {n}" for n in range(12)]


@pytest.fixture
def flow_environment(namespace, store, home, tmp_path, monkeypatch) -> str:
    """Have flows run on the cluster, with their outputs in the returned bucket."""
    bucket = store.make_bucket()
    image = {"container": namespace.image, "container_python": "python"}
    images = [each.model_dump(mode="json") | image for each in BUILT_IN.images]
    flavors = [each.model_dump(mode="json") | {"pod": {"requests": {"cpu": "90m"}}} for each in BUILT_IN.flavors]
    (tmp_path / "catalogue.yaml").write_text(json.dumps({"images": images, "flavors": flavors}))
    settings = {
        "MAKERFLOW_CLUSTER": "kubernetes",
        "MAKERFLOW_NAMESPACE": namespace.name,
        "MAKERFLOW_IMAGE": namespace.image,
        "MAKERFLOW_CATALOGUE": str(tmp_path / "catalogue.yaml"),
        "MAKERFLOW_ARTIFACTS": f"s3://{bucket}/artifacts",
        **store.environment,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.mark.req("COM-04")
def test_a_flow_that_is_killed_is_run_again_to_the_end_of_the_same_workers(site, namespace, flow_environment, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(LEARNS)
    place = f"s3://{flow_environment}/killed"
    command = [sys.executable, "-c", TRAIN, f"file://{tmp_path}/code", place, "killed", "2"]
    kill_when_read(command, lambda: seen_losses() >= 3)
    assert seen_losses() <= 10
    row = open_platform().registry.trainings.get("killed")
    for pod in pods_of(namespace, row.handle):
        command_in_pod = ["exec", pod, "--container=worker", "--", "python", "-c", "open('/tmp/goes-on', 'w')"]
        wait_until(lambda command=command_in_pod: succeeds(namespace, *command), f"{pod} to have started", 30)
    subprocess.run(command, check=True, timeout=90)
    row = open_platform().registry.trainings.get("killed")
    assert row.status is TrainingStatus.COMPLETE
    [loss] = [each for each in open_platform().registry.metrics.names(row.id) if each.name == "loss"]
    assert (loss.count, loss.last_step) == (20, 20), "lines lost or read twice"
    [kept] = [each.path for each in row.plan.outputs if each.kind == "log"]
    logs = [site.read(f"{place}/output.log") for place in (kept, f"{kept}/worker-1")]
    assert [log.count(b"begins") for log in logs] == [1, 1]
    wait_until(lambda: objects_in(namespace.name) == [], "the run's objects to be gone")


@pytest.mark.req("COM-04", "TRN-08")
def test_what_a_worker_printed_before_its_pod_was_gone_is_in_the_metrics_also_where_nobody_had_read_it(
    site, namespace, flow_environment, tmp_path
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(LEARNS_IN_TWO_ATTEMPTS)
    place = f"s3://{flow_environment}/gone"
    command = [sys.executable, "-c", TRAIN, f"file://{tmp_path}/code", place, "gone", "1"]
    kill_when_read(command, lambda: seen_losses("gone") == 3)
    row = open_platform().registry.trainings.get("gone")
    [pod] = pods_of(namespace, row.handle)
    kubectl(namespace, "exec", pod, "--container=worker", "--", "python", "-c", "open('/tmp/goes-on', 'w')")
    [log] = [f"{each.path}/output.log" for each in row.plan.outputs if each.kind == "log"]
    wait_until(lambda: has(site, log, b"step=10 "), "its log to be uploaded while it grows", 60)
    wait_until(lambda: has(site, f"{place}/checkpoints/10.txt", b"x"), "its checkpoint", 60)
    kubectl(namespace, "delete", pod, "--grace-period=0", "--force", "--wait=false")
    subprocess.run(command, check=True, timeout=90)
    trainings, metrics = open_platform().registry.trainings, open_platform().registry.metrics
    assert trainings.get("gone").status is TrainingStatus.COMPLETE
    points = [point for _, point in metrics.numbered(row.id, "loss")]
    assert [point.step for point in points] == list(range(1, 21)), "lines lost, or read twice, or out of order"
    assert BEGINS % 2 in site.read(log)


def kill_when_read(command: list[str], has_read: Callable[[], bool]) -> None:
    """Start a flow, and kill it once it has read so much."""
    with subprocess.Popen(command) as flow:
        try:
            wait_until(has_read, "the flow to read metrics")
        finally:
            flow.kill()


def has(site: KubernetesSite, path: str, text: bytes) -> bool:
    with suppress(ClientError):
        return text in site.read(path)
    return False


@pytest.mark.parametrize("seconds", [0, 6])
@pytest.mark.req("COM-04")
def test_a_job_that_somebody_deletes_under_its_flow_uploads_and_ends_once(
    site, namespace, flow_environment, tmp_path, seconds
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(SAVES_AT_ITS_END)
    name, place = f"deleted-{seconds}", f"s3://{flow_environment}/{seconds}"
    command = [sys.executable, "-c", SAVE, name, f"file://{tmp_path}/code", place, str(seconds)]
    with subprocess.Popen(command) as flow:
        wait_until(lambda: seen_losses(name) >= 1, "the flow to read metrics")
        row = open_platform().registry.trainings.get(name)
        kubectl(namespace, "delete", "job", job_name(row.id, 1), "--wait=false")
        flow.wait(90)
    row = open_platform().registry.trainings.get(name)
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert "Somebody else deleted its Job" in row.reason
    assert site.read(f"{place}/checkpoints/last.txt") == b"x"
    [kept] = [each.path for each in row.plan.outputs if each.kind == "log"]
    log = site.read(f"{kept}/output.log")
    assert (log.count(b"step=0 "), log.count(b"saved")) == (1, 1), "it was started again, or killed"
    wait_until(lambda: objects_in(namespace.name) == [], "the run's objects to be gone")


def seen_losses(name: str = "killed") -> int:
    """How many values of `loss` the flow has read by now."""
    registry = open_platform().registry
    rows = [row for row in registry.trainings.page().items if row.name == name]
    return sum(each.count for row in rows for each in registry.metrics.names(row.id) if each.name == "loss")


def test_a_pod_that_is_killed_without_a_word_is_lost_and_all_start_again(site, cluster, namespace):
    handle = cluster.launch(site.plan(SLOW))
    until_it_prints(cluster, handle)
    kubectl(namespace, "delete", *pods_of(namespace, handle), "--grace-period=0", "--force", "--wait=false")
    for event in cluster.watch(Selector(run_id=handle.run_id), idle_seconds=60):
        assert event is not None
        if event.kind == "started" and event.attempt == 2:
            break
    until(cluster, handle, lambda state: state.phase is RunPhase.RUNNING)
    cluster.stop(handle, 0)
    assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED
