import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.cluster import processes
from blocks.cluster.agent_process import agent_pid
from blocks.cluster.base import Cluster, Selector
from blocks.cluster.layout import RunLayout
from blocks.cluster.local import CLUSTER, LocalCluster
from blocks.cluster.pulse import Pulse
from blocks.cluster.stopping import SILENT_SECONDS
from blocks.domain.errors import ClusterUnavailableError
from blocks.domain.plan import PlannedInput, PlannedObject, Resources, RunHandle, RunImage, RunPlan
from tests.contract.cluster_contract import (
    BEGINNING,
    QUICK,
    SECONDS,
    SLOW,
    ClusterContract,
    ClusterSite,
    run_behind_another,
    state_of,
    until,
    until_it_prints,
    until_over,
)
from tests.processes import processes_of

LAUNCHER = """
import sys
from pathlib import Path
from blocks.cluster.local import LocalCluster
from blocks.domain.plan import RunPlan
cluster = LocalCluster(Path(sys.argv[1]), vcpus=2, memory_mib=4096)
plan = RunPlan.model_validate_json(sys.argv[2])
print("now", flush=True)
cluster.launch(plan, {"store": {"secret_access_key": "hush"}})
"""


class LocalSite(ClusterSite):
    """A home of the test's own on this machine."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self._sources = directory / "sources"
        self._count = 0

    def connect(self) -> LocalCluster:
        return LocalCluster(self.home, vcpus=2, memory_mib=4096)

    def plan(self, program: str, **changes: object) -> RunPlan:
        self._count += 1
        source = self._sources / str(self._count)
        source.mkdir(parents=True)
        file = source / "main.py"
        file.write_text(program)
        facts = file.stat()
        etag = f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}"
        object_ = PlannedObject(key="main.py", path=f"file://{file}", size=facts.st_size, etag=etag)
        plan = {
            "run_id": f"run-{self._count}",
            "created": BEGINNING,
            "workers": 1,
            "resources": Resources(vcpus=1, memory_mib=256),
            "image": RunImage(name="this", python=sys.executable),
            "entry_point": "main.py",
            "inputs": [PlannedInput(kind="source", path=f"file://{source}", objects=(object_,))],
            "storage_mib": 64,
            "time_limit_seconds": 600,
        }
        return RunPlan.model_validate({**plan, **changes})

    def kill_what_runs(self, handle: RunHandle) -> None:
        pid = agent_pid(RunLayout(self.home, handle.run_id))
        assert pid
        os.kill(pid, signal.SIGKILL)


class TestLocalCluster(ClusterContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Iterator[LocalSite]:
        site = LocalSite(tmp_path)
        yield site
        cluster = site.connect()
        for state in cluster.find(Selector()):
            cluster.stop(state.handle, 0)
            cluster.remove(state.handle)
        assert processes_of(site.home) == []
        assert list(site.home.glob("runs/*")) == []
        assert list(site.home.glob("queue/*.*")) == []

    @pytest.mark.req("TRN-05")
    def test_runs_start_in_order_of_creation(self, site, cluster):
        _, placed = run_behind_another(site, cluster)
        assert sorted(placed, key=lambda n: placed[n]) == [0, 1, 2, 3, 4]

    def test_secrets_reach_the_agent_and_nothing_else(self, site, cluster):
        handle = cluster.launch(site.plan(SLOW), {"store": {"secret_access_key": "hush-hush"}})
        until_it_prints(cluster, handle)
        for pid, _ in processes_of(site.home):
            assert (
                b"hush-hush"
                not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            )
        files = [path for path in site.home.rglob("*") if path.is_file()]
        assert not [path for path in files if b"hush-hush" in path.read_bytes()]
        cluster.stop(handle, 0)

    @pytest.mark.req("COM-06")
    def test_an_entry_point_finds_no_credentials_in_any_process_of_its_run(self, site, cluster, monkeypatch):
        """They are in the launching process's environment, as they are for `s3://` paths and for package indexes."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-1")
        monkeypatch.setenv("PIP_INDEX_URL", "https://me:hush-hush-2@index.invalid/simple")
        monkeypatch.setenv("SOMEBODY_ELSES_TOKEN", "hush-hush-3")
        handle = cluster.launch(site.plan(SLOW), {"store": {"secret_access_key": "hush-hush-4"}})
        until_it_prints(cluster, handle)
        found = processes_of(site.home)
        assert len(found) == 3
        for pid, _ in found:
            assert b"hush-hush" not in Path(f"/proc/{pid}/environ").read_bytes()
        agent = Path(f"/proc/{agent_pid(RunLayout(site.home, handle.run_id))}/mem")
        assert agent.stat().st_uid == 0, "the kernel gives what may not be looked into to root"
        cluster.stop(handle, 0)

    def test_an_agent_that_nobody_may_look_into_is_found_all_the_same(self, site, cluster, monkeypatch):
        """As root, who may look into everything, only what everybody else sees can show it."""
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        layout = RunLayout(site.home, handle.run_id)
        pid, contents = agent_pid(layout), processes._contents

        def as_somebody(file: str) -> bytes:
            if file == f"/proc/{pid}/environ":
                raise PermissionError(file)
            return contents(file)

        monkeypatch.setattr(processes, "_contents", as_somebody)
        assert pid in processes.find_processes(layout.directory)
        assert cluster.stop(handle, 0).remaining == 0

    def test_the_agent_is_a_session_of_its_own_with_nothing_of_the_callers(self, site, cluster, monkeypatch, tmp_path):
        for name in ("PREFECT_API_KEY", "MAKERFLOW_REGISTRY_URL", "PYTHONSTARTUP"):
            monkeypatch.setenv(name, "private")
        with (tmp_path / "open").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        pid = agent_pid(RunLayout(site.home, handle.run_id))
        assert pid
        assert os.getsid(pid) == pid
        assert b"private" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert str(tmp_path / "open") not in {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        cluster.stop(handle, 0)

    def test_a_run_directory_without_an_agent_is_lost_and_can_be_launched(self, site, cluster):
        """What a process leaves that is killed between making the directory and starting the agent."""
        plan = site.plan(QUICK)
        handle = cluster.launch(plan)
        until_over(cluster, handle)
        cluster.remove(handle)
        layout = RunLayout(site.home, plan.run_id)
        from blocks.cluster.run_directory import create_run

        lock = create_run(layout, plan)
        assert lock is not None
        os.close(lock)
        assert state_of(cluster, handle).phase == "lost"
        cluster.launch(plan)
        assert until_over(cluster, handle)[-1].cause == "ok"

    @pytest.mark.req("COM-04")
    @pytest.mark.parametrize(
        ("what", "number"),
        [("blocks.cluster.local.start_agent", errno.EAGAIN), ("blocks.cluster.run_directory.write_json", errno.ENOSPC)],
    )
    def test_a_machine_that_is_too_full_to_start_anything_is_asked_again(
        self, site, cluster, monkeypatch, what, number
    ):
        def fail(*_, **__):
            raise OSError(number, os.strerror(number))

        plan = site.plan(QUICK)
        with monkeypatch.context() as patched:
            patched.setattr(what, fail)
            with pytest.raises(ClusterUnavailableError, match=os.strerror(number)):
                cluster.launch(plan)
        assert until_over(cluster, cluster.launch(plan))[-1].cause == "ok"

    @pytest.mark.req("COM-04")
    def test_who_launches_may_die_at_any_moment_and_launch_again(self, site, cluster):
        plan = site.plan(QUICK)
        for milliseconds in (0, 2, 5, 12):
            launcher = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(site.home), plan.model_dump_json()], stdout=subprocess.PIPE
            )
            with launcher:
                launcher.stdout.readline()
                time.sleep(milliseconds / 1000)
                launcher.kill()
        handle = cluster.launch(plan)
        events = until_over(cluster, handle)
        assert events[-1].cause == "ok"
        assert [event.kind for event in events].count("started") == 1
        assert [path for path in (site.home / "runs").iterdir() if not path.name.startswith(".")] == [
            site.home / "runs" / plan.run_id
        ]
        for path in (site.home / "runs").glob(".new-*"):
            os.utime(path, (0, 0))
        cluster.tidy()

    @pytest.mark.req("TRN-05")
    def test_a_run_whose_agent_is_slow_to_start_is_not_overtaken(self, site, cluster, monkeypatch, tmp_path):
        slow = tmp_path / "python"
        slow.write_text(f'#!/bin/sh\nuntil [ -e {tmp_path}/go ]; do sleep 0.05; done\nexec {sys.executable} "$@"\n')
        slow.chmod(0o700)
        whole = {"vcpus": 2, "memory_mib": 64}
        with monkeypatch.context() as patched:
            patched.setattr("blocks.cluster.agent_process.sys.executable", str(slow))
            first = cluster.launch(site.plan(QUICK, resources=whole))
        second = cluster.launch(site.plan(QUICK, resources=whole))
        assert until(cluster, second, lambda state: bool(state.detail)).detail == "waiting for its turn: 1 run is ahead"
        (tmp_path / "go").touch()
        over = until_over(cluster, first)[-1]
        placed = next(event for event in until_over(cluster, second) if event.kind == "placed")
        assert placed.at > next(event for event in until_over(cluster, first) if event.kind == "exited").at
        assert over.cause == "ok"

    def test_secrets_larger_than_a_pipe_reach_the_agent(self, site, cluster):
        certificates = {f"store-{n}": {"ca_certificate": "x" * 50_000} for n in range(20)}
        assert until_over(cluster, cluster.launch(site.plan(QUICK), certificates))[-1].cause == "ok"

    def test_an_agent_that_hangs_is_ended_by_stop(self, site, cluster, monkeypatch):
        monkeypatch.setattr("blocks.cluster.stopping._ENDING_SECONDS", 0.5)
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        pid = agent_pid(RunLayout(site.home, handle.run_id))
        assert pid
        os.kill(pid, signal.SIGSTOP)
        assert cluster.stop(handle, 0.2).remaining == 0
        assert until_over(cluster, handle)[-1].cause == "stopped"

    def test_an_agent_that_hangs_after_its_workers_have_ended_is_ended_by_stop(
        self, site, cluster, monkeypatch, caplog
    ):
        monkeypatch.setattr("blocks.cluster.stopping.SILENT_SECONDS", 1.0)
        monkeypatch.setattr("blocks.cluster.stopping._TOLD_SECONDS", 0.1)
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        layout = RunLayout(site.home, handle.run_id)
        pid = agent_pid(layout)
        assert pid
        os.kill(pid, signal.SIGSTOP)
        processes.end_processes(layout.directory, 0, excluding=[pid])
        began = time.monotonic()
        assert cluster.stop(handle, 0.2).remaining == 0
        assert time.monotonic() - began < SECONDS / 2
        assert until_over(cluster, handle)[-1].cause == "stopped"
        assert [("Waiting for" in text, "hangs" in text) for text in caplog.messages] == [(True, False), (False, True)]

    def test_an_agent_that_only_waits_is_not_taken_for_one_that_hangs(self, site, cluster):
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        pulse = Pulse(agent_pid(RunLayout(site.home, handle.run_id)))
        for _ in range(3):
            while silent := pulse.silent_seconds():
                assert silent < SILENT_SECONDS / 3
                time.sleep(0.05)
        cluster.stop(handle, 0)

    def test_tidying_removes_what_half_done_work_left(self, site, cluster):
        handle = cluster.launch(site.plan(QUICK))
        until_over(cluster, handle)
        left = site.home / "runs" / ".new-run-9-x"
        left.mkdir()
        assert cluster.tidy() == []
        os.utime(left, (0, 0))
        assert cluster.tidy() == ["directory .new-run-9-x"]

    def test_read_only_trees_are_removed(self, site, cluster):
        handle = cluster.launch(site.plan("import os\nos.makedirs('a/b')\nopen('a/b/c', 'w')\nos.chmod('a/b', 0o500)"))
        until_over(cluster, handle)
        cluster.remove(handle)
        assert list(site.home.glob("runs/*")) == []

    def test_the_plan_on_disk_is_the_plan_that_was_launched(self, site, cluster: Cluster):
        plan = site.plan(QUICK)
        handle = cluster.launch(plan)
        layout = RunLayout(site.home, handle.run_id)
        assert RunPlan.model_validate_json(layout.plan.read_text()) == plan
        assert json.loads(layout.settings.read_text())["home"] == str(site.home)
        assert handle.cluster == CLUSTER
        until_over(cluster, handle)
