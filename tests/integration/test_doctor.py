"""What the doctor says of what dead processes left, and of the servers that are there or gone."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from blocks.cluster import cgroups
from blocks.cluster.cgroups import Enforcement
from blocks.connections.settings import Settings
from blocks.domain.lifecycle import TrainingStatus as T
from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.registry.records import Training
from deployments.cli.access import open_registry
from deployments.cli.doctor_checks import limits, prefect_server
from deployments.cli.doctor_leftovers import dead_flows, half_done_work, leftover_runs
from deployments.cli.findings import Finding

TO_STOPPED = (T.CREATE_IN_PROGRESS, T.RUNNING, T.STOP_IN_PROGRESS, T.STOPPED)


@pytest.fixture
def training(home: Path) -> Training:
    """A training whose processes run."""
    registry = open_registry()
    experiment = registry.experiments.ensure(ExperimentSpec(name="digits"))
    spec = TrainingSpec(name="first", algorithm="s3://bucket/code", entry_point="train.py")
    row = registry.trainings.create(spec, experiment.id)
    for status in TO_STOPPED[:2]:
        row = registry.trainings.move(row.id, status)
    return row


@contextmanager
def process_of(run: Path) -> Iterator[int]:
    """The id of a process that belongs to a run."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={"MAKERFLOW_RUN": str(run)}, **pipes) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The address of an API whose health is asked for."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
            thread.join()


def one(check: Callable[[], Iterator[Finding]]) -> Finding:
    (found,) = check()
    return found


def run_of(home: Path, id: str) -> Path:
    directory = home / "runs" / id
    directory.mkdir(parents=True)
    return directory


def test_a_run_directory_is_given_up_only_when_no_process_of_it_lives(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_KEEP_RUNS_DAYS", "0")
    run = run_of(home, "trn-forgotten")
    (run / "run.json").write_text(json.dumps({"labels": {"registry": open_registry().id}}))
    with process_of(run):
        living = one(leftover_runs)
    events = home / "events" / f"{run.name}.jsonl"
    events.parent.mkdir()
    events.write_text('{"kind": "finished"}\n')
    dead = one(leftover_runs)

    assert (living.level, dead.level) == ("problem", "warning")
    assert "lives (processes: 1)" in living.message
    assert living.remedy == "End it: `makerflow upkeep` does it."
    assert dead.remedy == "Remove them: `makerflow upkeep` does it."


def test_a_run_that_may_be_another_registrys_is_told_with_what_to_do(home: Path) -> None:
    run = run_of(home, "trn-others")
    with process_of(run):
        unmarked = one(leftover_runs)
        (run / "run.json").write_text(json.dumps({"labels": {"registry": "reg-other"}}))
        others = one(leftover_runs)
    assert (unmarked.level, others.level) == ("warning", "warning")
    assert "names no registry" in unmarked.message
    assert "belongs to another registry, reg-other" in others.message
    assert "Set MAKERFLOW_REGISTRY_URL" in others.remedy


def test_processes_of_a_training_that_is_over_are_a_problem(home: Path, training: Training) -> None:
    with process_of(run_of(home, training.id)):
        under_way = one(leftover_runs)
        for status in TO_STOPPED[2:]:
            open_registry().trainings.move(training.id, status)
        over = one(leftover_runs)

    assert under_way.level == "ok"
    assert over.level == "problem"
    assert "the training first, which is STOPPED" in over.message


def test_processes_whose_run_directory_was_removed_are_a_problem(home: Path, training: Training) -> None:
    for status in TO_STOPPED[2:]:
        open_registry().trainings.move(training.id, status)
    with process_of(home / "runs" / training.id):
        found = one(leftover_runs)
    assert found.level == "problem"
    assert "lives (processes: 1)" in found.message


def test_a_training_that_nobody_follows_can_be_resumed_or_stopped(training: Training) -> None:
    found = one(dead_flows)
    with open_registry().lease(training.id):
        followed = one(dead_flows)
    assert (found.level, followed.level) == ("problem", "ok")
    assert "makerflow training resume first" in found.remedy
    assert "makerflow training stop first" in found.remedy


def test_what_was_left_half_done_is_removed_and_told(home: Path) -> None:
    left = run_of(home, ".new-trn-1-x")
    os.utime(left, (0, 0))
    assert one(leftover_runs).level == "ok"
    assert any(".new-trn-1-x" in finding.message for finding in half_done_work())
    assert not left.exists()


def test_the_server_of_makerflow_up_is_asked_like_a_configured_one(home: Path) -> None:
    without = one(prefect_server)
    server_file = Settings().server_file
    server_file.parent.mkdir(parents=True)
    with answering(200) as api:
        server_file.write_text(api)
        there = one(prefect_server)
    gone = one(prefect_server)

    assert (without.level, there.level, gone.level) == ("ok", "ok", "warning")
    assert there.message == f"{api} answers"
    assert "makerflow up" in gone.remedy


def test_a_configured_server_that_is_ill_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(503) as api:
        monkeypatch.setenv("MAKERFLOW_PREFECT_API_URL", api)
        found = one(prefect_server)
    assert found.level == "warning"
    assert api in found.message
    assert "MAKERFLOW_PREFECT_API_URL" in found.remedy


def test_what_the_machine_holds_workers_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    held = one(limits)
    assert (held.level == "ok") == (cgroups.enforcement().cpu and cgroups.enforcement().memory)

    monkeypatch.setattr(cgroups, "enforcement", lambda: Enforcement(True, False, True, "/sys/fs/cgroup: Read-only"))
    loose = one(limits)
    assert loose.level == "warning"
    assert loose.message == "workers are not held to their flavor's memory: /sys/fs/cgroup: Read-only"
