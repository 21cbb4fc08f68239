import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.cluster import cgroup_trees, cgroups
from blocks.cluster.cgroup_trees import Hierarchy
from blocks.cluster.processes import end_processes

JOIN = "import sys\nfor f in sys.argv[1:]: open(f, 'w').write('0')\n"

held = cgroups.enforcement()
needs_memory = pytest.mark.skipif(not held.memory, reason=f"memory is not held here: {held.reason}")
needs_cpu = pytest.mark.skipif(not held.cpu, reason=f"CPU is not held here: {held.reason}")
needs_tracking = pytest.mark.skipif(not held.tracking, reason=f"no control group may be made here: {held.reason}")


def run_in(group: cgroups.WorkerCgroup, program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JOIN + program, *group.procs_files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@needs_memory
@pytest.mark.req("TRN-05")
def test_a_worker_that_takes_more_memory_than_its_flavor_is_killed_and_counted(run):
    group = cgroups.create_worker_cgroup(run.directory, 0, 1, 64)
    assert group
    assert group.out_of_memory_kills() == 0
    assert run_in(group, "x = bytearray(200 << 20)").returncode == -9
    assert group.out_of_memory_kills() == 1
    assert run_in(group, "x = bytearray(20 << 20)").returncode == 0


@needs_cpu
@pytest.mark.req("TRN-05")
def test_a_worker_gets_the_cpu_of_its_flavor_and_no_more(run):
    group = cgroups.create_worker_cgroup(run.directory, 0, 0.2, 64)
    assert group
    program = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    assert float(run_in(group, program).stdout) < 0.5


@needs_tracking
def test_a_process_in_the_group_is_the_runs_whatever_its_environment_says(run):
    group = cgroups.create_worker_cgroup(run.directory, 3, 1, 64)
    assert group
    process = subprocess.Popen(
        [sys.executable, "-c", JOIN + "print(1, flush=True)\nimport time\ntime.sleep(600)", *group.procs_files],
        env={},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        assert cgroups.processes_of(run.directory) == {process.pid}
        assert end_processes(run.directory, 0).killed == 1


@needs_tracking
def test_groups_are_made_again_by_a_second_agent_and_removed_twice(run):
    assert cgroups.create_worker_cgroup(run.directory, 0, 1, 64) == cgroups.create_worker_cgroup(
        run.directory, 0, 1, 64
    )
    group = cgroups.create_worker_cgroup(run.directory, 1, 2, 64)
    assert group
    cgroups.remove_groups(run.directory)
    assert not any(directory.exists() for directory in group.directories)
    cgroups.remove_groups(run.directory)


@needs_tracking
def test_with_the_last_worker_the_runs_group_goes_too(run):
    groups = [cgroups.create_worker_cgroup(run.directory, rank, 1, 64) for rank in (0, 1)]
    parents = {directory.parent for group in groups if group for directory in group.directories}
    for group, left in zip(groups, (True, False), strict=True):
        assert group
        group.remove()
        assert all(parent.exists() is left for parent in parents)


@needs_tracking
def test_empty_groups_that_a_deleted_home_left_are_removed_after_a_day(run, monkeypatch):
    tree = cgroup_trees.hierarchies()[0]
    base = tree.base / f"test-{run.home.parent.name}"  # so that groups of tests that run meanwhile are left alone
    base.mkdir()
    monkeypatch.setattr(cgroups, "hierarchies", lambda: (replace(tree, controllers=frozenset(), base=base),))
    try:
        assert cgroups.create_worker_cgroup(run.directory, 0, 1, 64)
        assert cgroups.remove_stale(run.home / "other") == []
        monkeypatch.setattr(cgroups, "_FORGOTTEN_SECONDS", -1)
        assert len(cgroups.remove_stale(run.home / "other")) == 1
    finally:
        base.rmdir()


@needs_tracking
def test_groups_of_runs_that_are_gone_are_removed_and_only_those_of_the_same_home(run):
    group = cgroups.create_worker_cgroup(run.directory, 0, 1, 64)
    assert group
    assert cgroups.remove_stale(run.home) == []
    moved = run.directory.rename(run.directory.with_name("elsewhere"))
    assert cgroups.remove_stale(run.home / "other") == []
    assert len(cgroups.remove_stale(run.home)) == 1
    assert not any(directory.exists() for directory in group.directories)
    moved.rename(run.directory)


def test_where_no_group_may_be_made_nothing_is_held_and_nothing_fails(run, monkeypatch, tmp_path):
    nowhere = Hierarchy(2, frozenset({"cpu", "memory"}), tmp_path / "absent", tmp_path, tmp_path)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: (nowhere,))
    assert cgroups.create_worker_cgroup(run.directory, 0, 1, 64) is None
    found = cgroups.enforcement()
    assert (found.cpu, found.memory, found.tracking) == (False, False, False)
    assert "No such file" in found.reason
    assert cgroups.processes_of(run.directory) == set()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000", "memory.limit_in_bytes": str(1 << 30)}),
        (2, {"cpu.max": "150000 100000", "memory.max": str(1 << 30), "memory.swap.max": "0"}),
    ],
)
def test_limits_are_written_in_the_words_of_each_version(version, expected):
    written = {
        file: value
        for controller in ("cpu", "memory")
        for file, value, _ in cgroups._limits(version, controller, 1.5, 1024)
    }
    assert expected.items() <= written.items()


def test_the_limits_around_this_process_are_read_in_both_versions(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    inner = new / "user" / "session"
    inner.mkdir(parents=True)
    old.mkdir()
    (new / "user" / "cpu.max").write_text("50000 100000\n")
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("max\n")
    (old / "memory.limit_in_bytes").write_text(str(3 << 30))
    (old / "cpu.cfs_quota_us").write_text("-1")
    trees = [Hierarchy(1, frozenset(), old, old, old), Hierarchy(2, frozenset(), inner, inner, new)]
    monkeypatch.setattr(cgroup_trees, "_mounted", lambda: iter(trees))
    assert cgroup_trees.own_limits() == (0.5, 3072)


def test_own_place_is_found_in_a_container_that_sees_a_part_of_the_tree():
    top = Path("/sys/fs/cgroup")
    assert cgroup_trees._below(top, "/", "/user.slice/a") == top / "user.slice/a"
    assert cgroup_trees._below(top, "/docker/abc", "/docker/abc/x") == top / "x"
    assert cgroup_trees._below(top, "/docker/abc", "/") == top
    assert dict(cgroup_trees._own_groups("4:cpu,cpuacct:/a\n0::/b\n")) == {"cpu": "/a", "cpuacct": "/a", "": "/b"}
