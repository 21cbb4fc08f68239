"""A run from its launch to its last event."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.cluster import agent_lock
from blocks.cluster.agent_process import agent_pid
from blocks.domain.plan import InputKind, OutputKind, PlannedOutput, Resources, RestartPolicy, RunImage
from tests.integration.launcher.runs import planned, write_files
from tests.processes import processes_of
from tests.waiting import wait_until

TRAIN = """
import json, os, sys
names = [name for name in os.environ if name.startswith(("EM_", "MASTER_", "AWS_", "RANK"))]
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": {n: os.environ[n] for n in names}}))
for name, text in (("MODEL", "model"), ("CHECKPOINT", "checkpoint"), ("TENSORBOARD_LOG", "tb")):
    with open(os.path.join(os.environ[f"EM_{name}_DIR"], "file"), "w") as stream:
        stream.write(text)
"""

# Each worker leaves a checkpoint; the first attempt of rank 1 then dies as it is told to.
DIES_ONCE = """
import os, signal, sys, time
given = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
if given is None:
    with open(os.environ["EM_CHECKPOINT_DIR"] + "/part", "w") as stream:
        stream.write(os.environ["RANK"])
    time.sleep(0.05)  # longer than a tick of the file system's clock, as writing a real checkpoint is
    os.rename(os.environ["EM_CHECKPOINT_DIR"] + "/part", os.environ["EM_CHECKPOINT_DIR"] + "/step-1")
    print("saved", flush=True)
    time.sleep(60)
found = sorted(os.path.relpath(os.path.join(d, f), given) for d, _, fs in os.walk(given) for f in fs)
print("goes on from", found, flush=True)
"""


@pytest.mark.req("TRN-04", "TRN-06", "TRN-08", "ENV-01")
def test_a_run_goes_from_its_inputs_to_its_outputs(launch, directory, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for entry points")
    data = write_files(directory.parent / "data", {"a.csv": "1,2\n"})
    reads = TRAIN + "\nprint(open(os.environ['EM_DATASET_TRAIN'] + '/a.csv').read())"
    run = launch(reads, hyperparameters={"lr": "0.1"}, inputs=(planned(InputKind.DATASET, data, "train"),))
    assert run.finished()["cause"] == "ok"
    document, data_read = run.output().splitlines()[:2]
    said = json.loads(document)
    assert said["argv"] == ["--lr", "0.1"]
    assert said["cwd"] == said["env"]["EM_SOURCE_DIR"]
    assert not any(name.startswith("AWS_") for name in said["env"])
    assert "EM_CHECKPOINT_INPUT_DIR" not in said["env"]
    assert data_read == "1,2"
    assert not Path(said["env"]["EM_DATASET_TRAIN"]).exists()  # removed so that the cache trusts its files
    assert run.uploaded(OutputKind.MODEL) == {"file": b"model"}
    assert run.uploaded(OutputKind.CHECKPOINT) == {"file": b"checkpoint"}
    assert run.uploaded(OutputKind.TENSORBOARD) == {"file": b"tb"}
    assert run.uploaded(OutputKind.LOG) == {"output.log": run.output().encode()}
    kinds = [event["kind"] for event in run.events()]
    assert [k for k in kinds if k not in ("staging", "queued", "usage")] == [
        "placed", "started", "exited", "checkpointed", "uploaded", "uploaded", "uploaded", "uploaded", "finished"
    ]  # fmt: skip
    assert not processes_of(directory)


@pytest.mark.req("TRN-18", "TRN-19")
def test_the_workers_of_two_runs_meet_at_ports_of_their_own(launch):
    program = TRAIN + "\nimport time\ntime.sleep(60)"
    runs = [launch(program, workers=2) for _ in range(2)]
    ports = set()
    for run in runs:
        for rank in range(2):
            run.wait_for_output("MASTER_PORT", rank)
            said = json.loads(run.output(rank).splitlines()[0])
            assert said["env"]["RANK"] == str(rank)
            ports.add(said["env"]["MASTER_PORT"])
    assert len(ports) == 2


def test_each_workers_outputs_have_their_own_place(launch):
    run = launch(TRAIN, workers=2)
    assert run.finished()["cause"] == "ok"
    assert set(run.uploaded(OutputKind.MODEL)) == {"file", "worker-1/file"}
    assert set(run.uploaded(OutputKind.CHECKPOINT)) == {"file", "worker-1/file"}
    assert set(run.uploaded(OutputKind.LOG)) == {"output.log", "worker-1/output.log"}


def test_a_traceback_ends_all_workers_at_once_and_is_the_reason(launch, directory):
    run = launch("import os, time\nif os.environ['RANK'] == '1': raise ValueError('bad')\ntime.sleep(60)", workers=2)
    finished = run.finished()
    assert finished["cause"] == "user_error"
    assert finished["message"] == "Worker 1: The entry point exited with code 1: ValueError: bad"
    assert {rank: record["cause"] for rank, record in run.records().items()} == {0: "stopped", 1: "user_error"}
    assert not run.events("restarted")
    assert not run.uploaded(OutputKind.MODEL)
    assert not processes_of(directory)


@pytest.mark.req("TRN-07", "TRN-08")
def test_when_one_worker_is_killed_all_go_on_from_the_checkpoints_of_all(launch):
    run = launch(DIES_ONCE, workers=2)
    run.wait_for_output("saved", 0)
    run.wait_for_output("saved", 1)
    os.kill(_entry_point(run, 1), signal.SIGKILL)
    assert run.finished()["cause"] == "ok"
    for rank in (0, 1):
        assert "goes on from ['step-1', 'worker-1/step-1']" in run.output(rank)
    (restarted,) = run.events("restarted")
    assert "Worker 1" in restarted["cause"]
    first, second = run.events("started")
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["deadline"] == second["deadline"]


def test_the_restarts_are_counted(launch):
    run = launch("import os\nos.kill(os.getpid(), 9)", restarts=RestartPolicy(budget=2))
    finished = run.finished()
    assert finished["cause"] == "lost"
    assert "restarted 2 times" in finished["message"]
    assert len(run.events("started")) == 3


@pytest.mark.req("TRN-13")
def test_a_stop_ends_everything_and_keeps_the_checkpoints(launch, directory):
    run = launch(DIES_ONCE + "\ntime.sleep(60)")
    run.wait_for_output("saved")
    report = run.cluster.stop(run.handle, 5)
    assert report.remaining == 0
    assert run.finished()["cause"] == "stopped"
    assert run.uploaded(OutputKind.CHECKPOINT) == {"step-1": b"0"}
    assert not processes_of(directory)


@pytest.mark.req("TRN-13")
def test_a_run_is_stopped_while_it_waits(launch):
    needs = Resources(vcpus=8, memory_mib=64)
    first = launch("import time\nprint('up')\ntime.sleep(60)", resources=needs)
    first.wait_for("placed")
    second = launch("print('never')", resources=needs)
    assert "waiting for" in second.wait_for("queued")["reason"]
    second.cluster.stop(second.handle, 5)
    assert second.finished()["cause"] == "stopped"
    assert not second.events("placed")
    assert [(event["output"], event["files"]) for event in second.events("uploaded")] == [("log", 0)]


def test_an_agent_that_waits_is_small(launch, monkeypatch):
    """One that is forked shares with the host what it does not need yet: `test_host` looks at what is its own."""
    monkeypatch.setattr("blocks.cluster.agent_host._SPARED", sys.maxsize)
    needs = Resources(vcpus=8, memory_mib=64)
    first = launch("import time\ntime.sleep(60)", resources=needs)
    first.wait_for("placed")
    second = launch("", resources=needs)
    second.wait_for("queued")
    pid = agent_pid(second.layout)
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert resident < 20 << 20
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "pydantic" not in maps


def test_an_agent_that_is_killed_takes_its_workers_with_it_and_the_next_one_goes_on(launch, directory):
    run = launch(DIES_ONCE, workers=2)
    run.wait_for_output("saved", 0)
    run.wait_for_output("saved", 1)
    _kill_agent(run, directory)
    run.cluster.launch(run.plan)
    assert run.finished()["cause"] == "ok"
    assert "goes on from ['step-1', 'worker-1/step-1']" in run.output(0)
    assert len(run.events("restarted")) == 1
    assert len([e for e in run.events("exited") if e["record"]["attempt"] == 1]) == 2


@pytest.mark.req("TRN-13")
def test_what_a_run_whose_agent_is_dead_had_finished_is_uploaded_when_it_is_stopped(launch, directory):
    run = launch(DIES_ONCE)
    run.wait_for_output("saved")
    _kill_agent(run, directory)
    assert run.cluster.stop(run.handle, 5).remaining == 0
    assert run.finished()["cause"] == "stopped"
    assert run.uploaded(OutputKind.CHECKPOINT) == {"step-1": b"0"}
    assert run.uploaded(OutputKind.LOG) == {"output.log": b"saved\n"}
    assert len(run.events("started")) == 1


@pytest.mark.req("TRN-13")
def test_what_cannot_be_uploaded_without_the_dead_agents_secrets_is_kept_and_the_message_says_where(launch, directory):
    place = PlannedOutput(kind=OutputKind.CHECKPOINT, path=f"file://{directory.parent}/out/c", connection="lab")
    run = launch(DIES_ONCE, secrets={"lab": {}}, outputs=(place,))
    run.wait_for_output("saved")
    _kill_agent(run, directory)
    run.cluster.stop(run.handle, 5)
    assert f"is in {run.layout.directory}/workers" in run.finished()["message"]
    assert (run.layout.worker(0) / "checkpoints" / "step-1").read_text() == "0"


def test_a_run_that_is_over_stays_over(launch):
    run = launch("print('once')")
    finished = run.finished()
    run.cluster.launch(run.plan)
    assert run.finished() == finished
    assert run.output() == "once\n"


@pytest.mark.req("TRN-17")
def test_an_input_that_changed_since_it_was_planned_fails_the_run_by_name(launch, directory):
    data = write_files(directory.parent / "data", {"a.csv": "1"})
    planned_data = planned(InputKind.DATASET, data, "train")
    (data / "a.csv").write_text("changed")
    run = launch(TRAIN, inputs=(planned_data,))
    finished = run.finished()
    assert finished["cause"] == "input_changed"
    assert str(data / "a.csv") in finished["message"]
    assert not run.events("started")
    assert [(event["output"], event["files"]) for event in run.events("uploaded")] == [("log", 0)]


def test_an_image_that_is_not_there_fails_the_run(launch):
    run = launch(TRAIN, image=RunImage(name="x", python="/no/such/python"))
    finished = run.finished()
    assert finished["cause"] == "environment_failed"
    assert "/no/such/python" in finished["message"]


def test_a_place_that_may_not_be_written_to_fails_the_run(launch, directory):
    out = directory.parent / "out"
    out.mkdir()
    (out / "model").write_text("a file where a directory should be")
    run = launch(TRAIN)
    assert run.finished()["cause"] == "output_denied"


def test_a_plan_of_another_version_ends_with_its_last_event(launch):
    run = launch("print('x')\nimport time\ntime.sleep(60)")
    run.wait_for_output("x")
    os.kill(agent_pid(run.layout) or 0, signal.SIGKILL)
    wait_until(lambda: not agent_lock.is_held(run.layout.lock))
    run.layout.plan.write_text('{"version": 99}')
    run.cluster.launch(run.plan)
    assert run.finished()["cause"] == "launcher_error"


@pytest.mark.parametrize("arguments", [[], ["/no/such/run"], ["a", "b", "c"]])
def test_a_wrong_call_is_answered_clearly(arguments):
    called = subprocess.run([sys.executable, "-m", "blocks.launcher", *arguments], capture_output=True, text=True)
    assert called.returncode == 2
    assert "usage: python -m blocks.launcher RUN_DIRECTORY" in called.stderr
    assert "Traceback" not in called.stderr


def test_an_agent_whose_secrets_were_cut_short_leaves_the_run_to_the_next_one(launch):
    run = launch("print('never')", started=False)
    lock = agent_lock.acquire(run.layout.lock)
    assert lock
    command = [sys.executable, "-m", "blocks.launcher", str(run.layout.directory), str(lock)]
    for document in (b"", b'{"s3": {"secret_acc'):
        called = subprocess.run(command, input=document, capture_output=True, pass_fds=[lock])
        assert called.returncode == 3
        assert b"secrets" in called.stderr
    assert not run.events()
    os.close(lock)


def _kill_agent(run, directory: Path) -> None:
    pid = agent_pid(run.layout)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(directory))


def _entry_point(run, rank: int) -> int:
    marker = str(run.layout.worker(rank) / "source")
    for pid, command in processes_of(run.home):
        if command.endswith("train.py") and os.readlink(f"/proc/{pid}/cwd") == marker:
            return pid
    raise AssertionError(f"no entry point of rank {rank} among {processes_of(run.home)}")
