import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.cluster import agent_lock
from blocks.cluster.allocation import enter
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import MARKER
from blocks.cluster.stopping import stop_run
from blocks.domain.plan import StopReport
from tests.integration.cluster.conftest import make_run
from tests.waiting import wait_until

AGENT_THAT_TAKES_ITS_TIME = """
import json, os, signal, sys, time
from pathlib import Path
from blocks.cluster import agent_lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = agent_lock.acquire(Path(sys.argv[1]))
time.sleep(0.3)
os.pwrite(lock, json.dumps({"pid": os.getpid()}).encode(), 0)
for _ in range(100):
    time.sleep(0.02)
"""


def test_a_stop_that_comes_just_before_the_launch_leaves_its_place_in_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"

    def launched_meanwhile(*_: object) -> StopReport:
        enter(make_run(home, "run-1").directory)
        return StopReport()

    monkeypatch.setattr("blocks.cluster.stopping.end_processes", launched_meanwhile)
    stop_run(RunLayout(home, "run-1"), 0, {})
    assert len(list(home.glob("queue/*.run-1.*.waiting"))) == 1


def test_an_agent_whose_process_id_is_told_late_is_not_taken_for_one_that_hangs(
    run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.cluster.stopping.SILENT_SECONDS", 0.8)
    command = [sys.executable, "-c", AGENT_THAT_TAKES_ITS_TIME, str(run.lock)]
    with subprocess.Popen(command, env={**os.environ, MARKER: str(run.directory)}) as agent:
        wait_until(lambda: agent_lock.is_held(run.lock))
        assert stop_run(run, 0, {}).killed == 0
        assert agent.wait(30) == 0
