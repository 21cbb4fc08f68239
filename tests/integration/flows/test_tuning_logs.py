"""With log management on, what trials print and what the platform says of them and their tuning is in the log store."""

import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.run_directory import stored_runs
from blocks.connections.platform import open_platform
from blocks.domain.errors import InvalidInputError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from flows.tuning import create_tuning, resume_tuning
from tests.flow_process import another_process
from tests.integration.flows.test_log_management import bodies, records
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TRN-10", "LOG-01", "LOG-02")

GOES_ON = """
import os, time
for step in range(400):
    print(f"k={os.environ['EM_HP_K']} step={step}", flush=True)
    time.sleep(0.01)
print("loss=1")
"""
WAITS_THE_FIRST_TIME = """
import os, pathlib, time
print("step 1", flush=True)
begun = pathlib.Path(os.environ["EM_HP_BEGUN"])
if not begun.exists():
    begun.touch()
    time.sleep(600)
print("loss=1")
"""
DIES_AFTER_A_TRIAL = """
import json, os, sys
from flows.tuning import create_tuning
from tasks.trial_run import TrialRun
TrialRun._clear_away = lambda run: os._exit(9)
create_tuning(json.loads(sys.argv[1]))
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {"log_management": True, "strategy": "GRID", "parameters": ("k=INT[1,3]",)}
    return made


def test_the_lines_of_a_trial_and_the_moves_of_its_tuning_are_found_by_their_fields(make: MakeTuning) -> None:
    source = "import os, sys\nk = os.environ['EM_HP_K']\nprint('loss=' + k)\nsys.exit(k == '2')\n"
    tuning = tuned(make(source, parallel_trainings=2))
    assert statuses_of(tuning) == [TrialStatus.SUCCEEDED, TrialStatus.FAILED, TrialStatus.SUCCEEDED]
    for trial in trials_of(tuning):
        lines = records(f"tuningId:{tuning.id} AND trial:{trial.number}")
        assert {line.fields["trainingId"] for line in lines} == {trial.training_id}
        assert {line.fields["trainingName"] for line in lines} == {f"t/{trial.number}"}
        assert next(line.body for line in lines if line.fields.get("rank") == "0") == f"loss={trial.number}"
    [failed] = [
        body for body in bodies(f"tuningId:{tuning.id} AND trial:2 AND logLevel:ERROR") if "FAIL TRAIN:" in body
    ]
    assert "exited with code 1" in failed
    own = [line for line in records(f"tuningId:{tuning.id}") if "trial" not in line.fields]
    assert [line.body.partition(":")[0] for line in own] == [
        "CREATE REQUESTED",
        "CREATE IN PROGRESS",
        "RUNNING",
        "COMPLETE IN PROGRESS",
        "COMPLETE",
    ]
    assert {line.fields["category"] for line in own} == {"easymaker.training"}
    assert max(Counter((line.body, line.fields.get("trainingId")) for line in records("")).values()) == 1
    resume_tuning("t", parallel_trainings=1)
    assert len([line for line in records(f"tuningId:{tuning.id}") if "trial" not in line.fields]) > len(own)


@pytest.mark.req("TUN-17", "COM-04")
def test_a_flow_that_is_killed_again_and_again_loses_and_doubles_no_line_of_a_trial(make: MakeTuning) -> None:
    spec = make(GOES_ON, parallel_trainings=3)
    for _ in range(2):
        before = len(bodies("step"))
        with another_process(create_tuning, spec) as flow:
            wait_until(lambda before=before: len(bodies("step")) > before)
            flow.kill()
    tuning = tuned(spec)
    assert (tuning.status, statuses_of(tuning)) == (TuningStatus.COMPLETE, [TrialStatus.SUCCEEDED] * 3)
    for trial in trials_of(tuning):
        lines = bodies(f"tuningId:{tuning.id} AND trial:{trial.number} AND step")
        assert lines == [f"k={trial.number} step={step}" for step in range(400)]
    assert max(Counter((line.body, line.fields.get("trainingId")) for line in records("")).values()) == 1


@pytest.mark.req("TUN-17", "COM-04")
def test_who_goes_on_brings_over_the_lines_of_a_trial_whose_flow_died_right_after_its_end(make: MakeTuning) -> None:
    spec = make("for step in range(3): print('step', step)\nprint('loss=1')\n")
    assert subprocess.run([sys.executable, "-c", DIES_AFTER_A_TRIAL, spec.model_dump_json()]).returncode == 9
    assert open_platform().cluster.traces(), "its run, and maybe the next one"
    tuning = tuned(spec)
    for trial in trials_of(tuning):
        assert len(bodies(f"tuningId:{tuning.id} AND trial:{trial.number} AND step")) == 3
    assert open_platform().cluster.traces() == []


@pytest.mark.req("TUN-17", "COM-04")
def test_the_lines_of_a_run_whose_agent_was_asked_to_end_stay_though_its_trial_is_run_again(
    make: MakeTuning, home: Path, tmp_path: Path
) -> None:
    spec = make(WAITS_THE_FIRST_TIME, parameters=("k=INT[1,1]",), hyperparameters={"begun": str(tmp_path / "begun")})
    with ThreadPoolExecutor() as threads:
        done = threads.submit(tuned, spec)
        wait_until(lambda: len(bodies("step")) == 1)
        [run] = stored_runs(home)
        os.kill(agent_pid(run) or 0, signal.SIGTERM)
    [trial] = trials_of(done.result())
    assert (trial.status, trial.runs) == (TrialStatus.SUCCEEDED, 2)
    assert bodies(f"tuningId:{trial.tuning_id} AND trial:1 AND step") == ["step 1"] * 2
    assert open_platform().cluster.traces() == []


def test_a_tuning_that_failed_is_told_with_its_reason(make: MakeTuning) -> None:
    tuning = tuned(make("print('nothing')", max_failed_trainings=1))
    [failure] = bodies(f'tuningId:{tuning.id} AND "FAIL HYPERPARAMETER TUNING" AND NOT PROGRESS AND logLevel:ERROR')
    assert "max_failed_trainings is 1" in failure


def test_log_management_without_a_log_store_is_refused(make: MakeTuning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKERFLOW_LOG_STORE", "off")
    with pytest.raises(InvalidInputError, match=r"no log store is enabled.*Set MAKERFLOW_LOG_STORE=local"):
        create_tuning(make("pass"))
    assert open_platform().registry.tunings.page().items == ()
