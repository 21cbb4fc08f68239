"""Agents that are forked from a host, and what becomes of them when it, or who launched them, is killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from blocks.cluster import agent_host, agent_process
from blocks.cluster.agent_process import agent_pid, end_host, host_pid
from blocks.cluster.base import Selector
from blocks.launcher import appearance
from tests.integration.launcher.runs import LaunchedRun, make_plan
from tests.processes import processes_of
from tests.waiting import wait_for, wait_until

SLOW = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
TELLS_ENVIRONMENT = "import os\nprint(sorted(os.environ))\nprint(os.getcwd())\n"

LAUNCHER = """
import sys, time
from pathlib import Path
from blocks.cluster.agent_process import host_pid
from blocks.cluster.local import LocalCluster
from blocks.domain.plan import RunPlan
cluster = LocalCluster(Path(sys.argv[1]), vcpus=8, memory_mib=1 << 20)
plans = [RunPlan.model_validate_json(text) for text in sys.stdin]
cluster.launch(plans[0])
cluster.launch(plans[1])
while host_pid() is None:
    time.sleep(0.02)
print(host_pid(), flush=True)
cluster.launch(plans[2], {"store": {"secret_access_key": "hush"}})
print("launched", flush=True)
time.sleep(600)
"""


@pytest.fixture
def host(launch) -> Iterator[int]:
    """The process id of a host that is ready, made anew."""
    end_host()
    yield _ready_host(launch)
    end_host()


def _host() -> int:
    return wait_for(host_pid, "the host of agents")


def _ready_host(launch) -> int:
    """A host is started by launching; one that was killed is missed by the next launch."""
    while (pid := host_pid()) is None:
        launch("pass").finished()
    return pid


def _agent(run: LaunchedRun) -> int:
    return wait_for(lambda: agent_pid(run.layout), "the agent's process id")


def _is_gone(pid: int) -> bool:
    """Not even a zombie is left."""
    return not Path(f"/proc/{pid}").exists()


def _parent(pid: int) -> int:
    return psutil.Process(pid).ppid()


def _facts(pid: int) -> dict[str, object]:
    """What may not depend on how an agent was started."""
    process = psutil.Process(pid)
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    names = ("Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "CapEff", "Cpus_allowed")
    files = (Path(os.readlink(file)).name.partition(":[")[0] for file in Path(f"/proc/{pid}/fd").iterdir())
    return {
        "session": os.getsid(pid) == pid == os.getpgid(pid),
        "cwd": Path(process.cwd()).name == process.environ()["MAKERFLOW_RUN"].rpartition("/")[2],
        "status": [line for line in status if line.partition(":")[0] in names],
        "files": sorted(file.replace(Path(process.cwd()).name, "run") for file in files),
        "environment": {n: v for n, v in process.environ().items() if n not in ("MAKERFLOW_RUN", "LC_CTYPE")},
        "command": process.cmdline()[:4],
        "oom": Path(f"/proc/{pid}/oom_score_adj").read_text(),
        "nice": process.nice(),
        "looked into by": Path(f"/proc/{pid}/mem").stat().st_uid,
    }


def test_from_the_second_launch_on_there_is_a_host_and_who_launches_once_has_none(launch, monkeypatch):
    monkeypatch.setattr(agent_process, "_hosting", agent_host.Hosting())
    first = launch(SLOW)
    first.wait_for_output("up")
    assert host_pid() is None
    assert _parent(_agent(first)) == os.getpid()
    launch("pass").finished()
    host = _host()
    third = launch(SLOW)
    third.wait_for_output("up")
    assert _parent(_agent(third)) == host
    end_host()


def test_an_agent_that_is_forked_is_the_same_as_one_that_is_started(launch, host, monkeypatch):
    forked = launch(SLOW)
    with monkeypatch.context() as patched:
        patched.setattr(agent_host, "_SPARED", sys.maxsize)
        started = launch(SLOW)
    for run in (forked, started):
        run.wait_for_output("up")
    assert _parent(_agent(forked)) == host != _parent(_agent(started))
    assert _facts(_agent(forked)) == _facts(_agent(started))


def test_the_host_is_no_process_of_a_run_and_has_nothing_of_the_callers(launch, host, directory, monkeypatch):
    run = launch(SLOW)
    run.wait_for_output("up")
    assert host not in [pid for pid, _ in processes_of(directory)]
    assert run.cluster.find(Selector(run_id=run.plan.run_id))[0].processes == 3
    assert set(psutil.Process(host).environ()) <= {*agent_process._environment(os.environ), "", "LC_CTYPE"}
    assert len(os.listdir(f"/proc/{host}/task")) == 1
    run.cluster.stop(run.handle, 0)
    assert host_pid() == host
    assert not _is_gone(host)


@pytest.mark.req("COM-06")
def test_secrets_are_neither_in_the_host_nor_in_the_next_agent(launch, host, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-1")
    with monkeypatch.context() as patched:
        patched.setenv("PIP_INDEX_URL", "https://me:hush-hush-2@index.invalid/simple")
        first = launch(SLOW, secrets={"store": {"secret_access_key": "hush-hush-3"}})
        first.wait_for_output("up")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    second = launch(SLOW)
    second.wait_for_output("up")
    assert host == _parent(_agent(first)) == _parent(_agent(second))
    assert "hush-hush-3" in _memory(_agent(first))
    for pid in (host, _agent(second)):
        assert "hush-hush" not in _memory(pid)
    for pid in (host, _agent(first), _agent(second)):
        assert b"hush-hush" not in Path(f"/proc/{pid}/environ").read_bytes()


def _memory(pid: int) -> str:
    """All that the process could find in its memory, as root sees it."""
    if os.geteuid():
        pytest.skip("only root may look into an agent's memory")
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            range_, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(each, 16) for each in range_.split("-"))
                memory.seek(start)
                found += memory.read(end - start)
    return found.decode("latin-1")


@pytest.mark.req("COM-04")
def test_a_host_that_was_killed_is_replaced_and_its_agents_go_on(launch, host):
    before = launch(SLOW)
    before.wait_for_output("up")
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: _is_gone(host))
    after = launch("print('done')")
    assert after.finished()["cause"] == "ok"
    assert not _is_gone(_agent(before))
    launch("pass").finished()
    assert _host() != host
    assert before.cluster.stop(before.handle, 0).remaining == 0


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_host_that_is_killed_at_any_moment_of_a_launch_starts_no_run_twice(launch, host, rounds):
    """Killed by another process while it is asked; whoever it may have forked by then never hears of the run."""
    runs = []
    for number in range(6 * rounds):
        pid = _ready_host(launch)
        killer = threading.Timer(number % 6 * 0.001, os.kill, (pid, signal.SIGKILL))
        killer.start()
        runs.append(launch(f"print('once {number}')"))
        killer.join()
        wait_until(lambda pid=pid: _is_gone(pid))
        launch("pass").finished()
    for number, run in enumerate(runs):
        assert run.finished()["cause"] == "ok"
        assert run.output() == f"once {number}\n"
        assert len(run.events("started")) == 1


@pytest.mark.req("COM-04")
def test_a_host_that_hangs_is_ended_and_the_agent_started_directly(launch, host, monkeypatch):
    monkeypatch.setattr(agent_host, "ANSWER_SECONDS", 0.2)
    os.kill(host, signal.SIGSTOP)
    assert launch("print('done')").finished()["cause"] == "ok"
    wait_until(lambda: _is_gone(host))


@pytest.mark.req("COM-04")
def test_an_agent_that_was_forked_and_never_told_its_secrets_ends_without_a_word(launch, host, directory):
    run = launch("print('never')", started=False)
    lock = os.open(run.layout.lock, os.O_RDWR)
    reading, writing = os.pipe()
    environment = agent_process._environment(os.environ)
    with run.layout.agent_log.open("ab") as log:
        pid = agent_process._hosting.start_agent(run.layout.directory, environment, (lock, reading, log.fileno()))
    assert pid
    for descriptor in (lock, reading, writing):
        os.close(descriptor)
    wait_until(lambda: _is_gone(pid))
    assert "The secrets did not arrive whole" in run.layout.agent_log.read_text()
    assert not run.events()


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_host_ends_with_its_launcher_and_the_agents_outlive_both(launch, directory, how):
    plans = [make_plan(directory.parent, program, run_id=f"run-{n}") for n, program in enumerate((*["pass"] * 2, SLOW))]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdin
        assert launcher.stdout
        launcher.stdin.write("\n".join(plan.model_dump_json() for plan in plans))
        launcher.stdin.close()
        host = int(launcher.stdout.readline())
        assert launcher.stdout.readline() == "launched\n"
        launcher.send_signal(how)
    wait_until(lambda: _is_gone(host) or psutil.Process(host).status() == psutil.STATUS_ZOMBIE)
    run = LaunchedRun(directory, launch("pass").cluster, plans[2])
    run.wait_for_output("up")
    assert psutil.pid_exists(_agent(run))
    assert run.cluster.stop(run.handle, 0).remaining == 0
    assert run.finished()["cause"] == "stopped"
    wait_until(lambda: not processes_of(directory), "the agents of the others to end")


def test_a_process_that_was_forked_from_the_launcher_does_not_keep_the_host(launch, host):
    child = os.fork()
    if child == 0:
        os._exit(0 if agent_process.host_pid() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert host_pid() == host
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    agent_process._hosting._host._socket.close()
    wait_until(lambda: _is_gone(host))
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)


def test_agents_that_have_ended_leave_no_zombies(launch, host):
    runs = [launch("pass") for _ in range(4)]
    agents = [_agent(run) for run in runs]
    assert {_parent(pid) for pid in agents if psutil.pid_exists(pid)} <= {host}
    for run in runs:
        run.finished()
    for pid in agents:
        wait_until(lambda pid=pid: _is_gone(pid))


def test_another_environment_has_another_host(launch, host, monkeypatch):
    monkeypatch.setenv("LC_TIME", "C")
    launch("pass").finished()
    wait_until(lambda: _is_gone(host))
    _host()
    run = launch(SLOW)
    run.wait_for_output("up")
    assert psutil.Process(_agent(run)).environ()["LC_TIME"] == "C"
    mask = os.umask(0o027)
    try:
        other = launch(SLOW)
        other.wait_for_output("up")
        assert "Umask:\t0027" in Path(f"/proc/{_agent(other)}/status").read_text()
    finally:
        os.umask(mask)


def test_a_run_whose_directory_has_too_long_a_name_for_the_host_is_started_directly(launch, host, monkeypatch):
    monkeypatch.setattr(agent_host, "ROOM_BYTES", 8)
    end_host()
    launch("pass").finished()
    _host()
    run = launch(SLOW)
    run.wait_for_output("up")
    assert _parent(_agent(run)) == os.getpid()


def test_hosts_that_cannot_start_are_given_up(launch, monkeypatch, tmp_path):
    monkeypatch.setattr(agent_process, "_hosting", hosting := agent_host.Hosting())
    monkeypatch.setattr(agent_host, "HOST", "blocks.launcher.absent")
    for _ in range(6):
        assert launch("pass").finished()["cause"] == "ok"
        wait_until(lambda: hosting._host is None or not hosting._host.is_ready())
    assert hosting._host is None


def test_what_waits_in_the_queue_takes_little_memory_of_its_own(launch, host):
    needs = {"vcpus": 8, "memory_mib": 64}
    first = launch(SLOW, resources=needs)
    first.wait_for("placed")
    waiting = [launch("pass", resources=needs) for _ in range(4)]
    for run in waiting:
        run.wait_for("queued")
    own = [psutil.Process(_agent(run)).memory_full_info().uss for run in waiting]
    assert max(own) < 8 << 20


def test_a_process_shows_what_it_writes_over_its_arguments_and_variables():
    program = (
        "import os, sys\nfrom blocks.launcher.appearance import find_arguments, find_variable\n"
        "find_arguments('left').show(b'other\\0word')\nfind_variable('SPACE').show(b'MARK=x')\n"
        "print(open('/proc/self/cmdline').read().rstrip(chr(0)).split(chr(0))[3:])\n"
        "print([e for e in open('/proc/self/environ').read().split(chr(0)) if e])\n"
        "try:\n    find_arguments('left')\nexcept OSError as error:\n    print(error)\n"
    )
    environment = {"A": "1", "SPACE": "x" * 20, "PYTHONPATH": str(Path(appearance.__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", program, "left", "x" * 20], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[0] == "['other', 'word']"
    assert "'A=1', 'MARK=x', 'PYTHONPATH" in said[1]
    assert "does not show" in said[2]
