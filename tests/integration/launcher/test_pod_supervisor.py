"""A worker's supervisor as it runs in a pod, beside a sidecar that is played here."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.domain.plan import ExitRecord
from blocks.launcher import pod_supervisor
from tests.integration.launcher.supervised import Supervised, oldest_python
from tests.waiting import wait_for, wait_until

Start = Callable[..., Supervised]


@pytest.fixture
def start_in_pod(start: Start, tmp_path: Path) -> Start:
    def start_program(program: str, **facts: object) -> Supervised:
        pod = {"argv": ["main.py", "--last"], "deadline": None, "stop_file": str(tmp_path / "stop"), "lifeline": False}
        return start(program, supervised_by=pod_supervisor.__file__, **{**pod, **facts})

    return start_program


def deliver(run: Supervised, cause: str = "ok") -> ExitRecord:
    """Do as the sidecar does once the record is there."""
    wait_until((run.directory / "exit-1.json").exists)
    (run.directory / "delivered.json").write_text(json.dumps({"cause": cause, "message": ""}))
    return ExitRecord.model_validate(run.end())


@pytest.mark.parametrize("python", [sys.executable, oldest_python()], ids=["this", "oldest"])
def test_it_runs_in_any_python_that_it_promises_and_reports_what_the_sidecar_cannot_see(start_in_pod, python):
    if python is None:
        pytest.skip("there is no Python 3.8 here; that the files' syntax is old enough is checked all the same")
    program = "import sys, time\nprint(sys.version_info[:2], sys.argv[1:], flush=True)\ntime.sleep(2)"
    run = start_in_pod(program, python=python)
    report = wait_for(lambda: read(run.directory / "report.json"), "a report")
    assert report["account"]["memory_bytes"] > 0
    record = deliver(run)
    assert (record.cause, record.code, run.process.returncode) == ("ok", 0, 0)
    assert run.output().endswith(b" ['--last']\n")


@pytest.mark.parametrize(
    ("program", "cause", "code"),
    [
        ("raise SystemExit(3)", "user_error", 3),
        ("import os\nos.kill(os.getpid(), 9)", "lost", 137),
        ("import os\nos.kill(os.getpid(), 11)", "user_error", 1),
    ],
)
def test_its_code_tells_kubernetes_how_the_worker_ended(start_in_pod, program, cause, code):
    run = start_in_pod(program)
    assert deliver(run).cause == cause
    assert run.process.returncode == code


def test_a_worker_whose_output_could_not_be_uploaded_did_not_end_well(start_in_pod):
    run = start_in_pod("print('done')")
    assert deliver(run, "output_denied").cause == "ok"
    assert run.process.returncode == 1


def test_the_time_limit_counts_from_its_start_when_no_attempt_was_before(start_in_pod):
    run = start_in_pod("import time\ntime.sleep(60)", time_limit_seconds=0.5)
    record = deliver(run)
    assert (record.cause, run.process.returncode) == ("time_limit", 124)


@pytest.mark.parametrize("name", ["stop-1.json", "../stop"])
def test_it_ends_when_the_sidecar_or_the_pods_annotation_asks(start_in_pod, name):
    run = start_in_pod("import time\nprint('running', flush=True)\ntime.sleep(60)")
    run.wait_for(b"running")
    (run.directory / name).write_text("")  # there is no request as long as the annotation is empty
    time.sleep(0.6)
    assert run.process.poll() is None
    request = {"cause": "stopped", "message": "It was stopped.", "grace_seconds": 5}
    (run.directory / name).write_text(json.dumps(request))
    record = deliver(run)
    assert (record.cause, record.message, run.process.returncode) == ("stopped", "It was stopped.", 143)


def read(file: Path) -> dict[str, object] | None:
    return json.loads(file.read_bytes()) if file.exists() else None
