import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from blocks.cluster import cgroups
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import count_processes, end_processes, find_processes
from tests.integration.cluster.conftest import make_run
from tests.waiting import wait_until

SLEEP = "import time; time.sleep(600)"
SUBREAPER = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"
DAEMON = """
    import os, sys
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {environment})
    os.wait()
"""


@pytest.fixture
def start(run: RunLayout):
    """Starts a Python program that carries the run's marker; reaped at the end."""
    started = []

    def start(program: str, *arguments: str, marker: Path = run.directory) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
        environment = {**os.environ, "MAKERFLOW_RUN": str(marker)}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(run: RunLayout, count: int) -> list[int]:
    wait_until(lambda: len(find_processes(run.directory)) == count)
    return find_processes(run.directory)


def test_a_process_is_found_by_its_marker_and_others_are_not(run, start, tmp_path):
    other = make_run(tmp_path / "home", "run-10")
    mine = start(SLEEP)
    theirs = start(SLEEP, marker=other.directory)
    assert wait_for(run, 1) == [mine.pid]
    assert wait_for(other, 1) == [theirs.pid]
    assert find_processes(run.directory, excluding=[mine.pid]) == []
    assert count_processes([run.directory, other.directory]) == {run.directory: 1, other.directory: 1}
    end_processes(run.directory, 0)
    assert wait_for(other, 1) == [theirs.pid]


def test_a_kernel_without_handles_of_processes_is_no_hindrance(run, start, monkeypatch):
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("os.pidfd_open", refuse)
    start(SLEEP)
    wait_for(run, 1)
    assert end_processes(run.directory, 10).terminated == 1


def test_a_zombie_is_not_a_process(run, start):
    process = start("pass")
    wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert find_processes(run.directory) == []


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize("environment", ["os.environ", "{}"])
def test_a_daemon_is_ended_also_when_it_dropped_its_environment(run, start, environment):
    start(f"{SUBREAPER}\n" + textwrap.dedent(DAEMON.format(environment=environment)) + f"\n{SLEEP}")
    wait_for(run, 2)
    assert end_processes(run.directory, 5).remaining == 0
    assert find_processes(run.directory) == []


@pytest.mark.req("TRN-13")
def test_who_ends_politely_is_not_killed(run, start):
    start(SLEEP)
    wait_for(run, 1)
    report = end_processes(run.directory, 10)
    assert (report.terminated, report.killed, report.remaining) == (1, 0, 0)


def test_a_halted_process_is_given_the_chance_to_end_politely(run, start):
    start("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    pid = wait_for(run, 1)[0]
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert end_processes(run.directory, 10).terminated == 1


@pytest.mark.req("TRN-13")
def test_who_ignores_the_polite_signal_is_killed_after_the_grace(run, start):
    ready = run.directory / "ready"
    start(f"import signal, sys; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); {SLEEP}")
    wait_until(ready.exists)
    report = end_processes(run.directory, 0.2)
    assert (report.terminated, report.killed, report.remaining) == (0, 1, 0)


@pytest.mark.parametrize("session", ["", "os.setsid()"])
def test_who_forks_faster_than_we_look_is_ended(run, start, session):
    """A program that hops to a new process all the time; in a session of its own each time, only the kernel helps."""
    group = cgroups.create_worker_cgroup(run.directory, 0, 1, 256)
    if session and not any(Path(f).with_name("cgroup.kill").exists() for f in (group.procs_files if group else ())):
        pytest.skip("this machine lets us make no control group of version 2")
    hop = f"while os.fork() == 0: {session or 'pass'}"
    joined = list(group.procs_files) if group else []
    ready = run.directory / "ready"
    start(f"import os, sys\nfor f in {joined}: open(f, 'w').write('0')\nopen({str(ready)!r}, 'w')\n{hop}")
    wait_until(ready.exists)
    assert end_processes(run.directory, 0).remaining == 0


def test_a_run_that_was_launched_by_another_run_is_left_alone(run, start, tmp_path):
    inner = make_run(tmp_path / "home", "run-2")
    environment = {"MAKERFLOW_RUN": str(inner.directory), "PATH": os.environ["PATH"]}
    start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}], env={environment})")
    wait_for(run, 1)
    wait_for(inner, 1)
    end_processes(run.directory, 5)
    assert len(find_processes(inner.directory)) == 1
    end_processes(inner.directory, 0)


def test_ending_a_run_without_processes_ends_nothing(run):
    assert end_processes(run.directory, 5).model_dump() == {"terminated": 0, "killed": 0, "remaining": 0}
