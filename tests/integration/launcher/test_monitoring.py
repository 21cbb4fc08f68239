"""What the agent tells of the processes of real workers."""

import os
import time

import pytest

from blocks.domain.plan import Resources
from blocks.launcher.accounting import accounts, host_traffic

# A worker's work is done by a grandchild, a child that has ended and a daemon; it holds memory and fills its disk.
BUSY = """
import os, subprocess, sys, time
SPIN = "import os, time\\nblock = bytearray(64 << 20)\\nuntil = {}\\nwhile time.process_time() < until: pass\\n{}"
if os.environ["RANK"] == "0":
    with open(os.environ["EM_MODEL_DIR"] + "/data", "wb") as stream:
        stream.write(os.urandom(8 << 20))
        stream.flush()
        os.fsync(stream.fileno())
    subprocess.run([sys.executable, "-c", SPIN.format(0.3, "")], check=True)
    subprocess.Popen([sys.executable, "-c", SPIN.format(600, "")], start_new_session=True)
print("busy", flush=True)
time.sleep(600)
"""


@pytest.mark.req("COM-08")
def test_each_worker_is_charged_with_what_all_of_its_processes_use(launch, directory):
    run = launch(BUSY, workers=2, resources=Resources(vcpus=0.5, memory_mib=256))
    run.wait_for_output("busy")
    looks = len(run.events("usage"))
    run.wait_for("usage", looks + 2)
    event = run.events("usage")[-1]
    busy, idle = (worker["values"] for worker in sorted(event["workers"], key=lambda worker: worker["rank"]))
    assert (event["attempt"], event["host"], event["network"]) == (1, os.uname().nodename, "host")
    assert busy["cpu"] > 5 * idle["cpu"] + 5
    assert busy["memory"] > idle["memory"] + 60
    assert busy["disk"] >= idle["disk"] + 8
    assert busy["network_received"] == idle["network_received"] >= 0
    assert max(w["values"]["disk_write"] for e in run.events("usage") for w in e["workers"]) > 0.1
    run.cluster.stop(run.handle, 0)
    assert run.finished()["cause"] == "stopped"


def test_a_run_of_two_seconds_is_looked_at_too(launch):
    run = launch("import time; time.sleep(2)")
    assert run.finished()["cause"] == "ok"
    assert len(run.events("usage")) in (1, 2)


def test_only_children_of_the_asking_process_are_charged():
    assert accounts({0: 1, 1: os.getpid(), 2: 2**22 + 1}) == {}


def test_the_hosts_traffic_is_that_of_all_interfaces_but_loopback(tmp_path, monkeypatch):
    monkeypatch.setattr("blocks.launcher.accounting._NETWORK", file := tmp_path / "dev")
    assert host_traffic() is None
    rows = [f"{name}: {10**n} 0 0 0 0 0 0 0 {2 * 10**n} 0 0 0 0 0 0 0" for n, name in enumerate(("lo", "eth0", "eth1"))]
    file.write_text("\n".join(["head", "head", *rows]))
    assert host_traffic() == (110, 220)


def test_the_processor_time_of_a_child_that_ended_is_kept(start_child):
    pid = start_child()
    deadline = time.monotonic() + 30
    while (account := accounts({0: pid})[0]).cpu_seconds < 0.2:
        assert time.monotonic() < deadline, account
        time.sleep(0.05)
    assert account.read_bytes is None or account.read_bytes >= 0


@pytest.fixture
def start_child():
    """A process as a supervisor is: it has waited for a child that used a fifth of a second of a processor."""
    import subprocess
    import sys

    program = (
        "import subprocess, sys, time\n"
        "spin = 'import time\\nwhile time.process_time() < 0.3: pass'\n"
        "subprocess.run([sys.executable, '-c', spin], check=True)\n"
        "time.sleep(600)"
    )
    started = []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", program]))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()
