"""One run of a trial, between the control loop and the threads that care for it."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.run_directory import stored_runs
from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.plan import RunPlan
from blocks.registry.records import Tuning
from tasks import trials
from tasks.planning import plan_of_trial
from tasks.trial_run import TrialRun
from tasks.trial_threads import TrialThreads
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TUN-13", "TUN-17")

R, T = TrialStatus, TuningStatus

GOAL_AT_ONCE = """
import os, time
with open(os.environ["EM_HP_STARTS"], "a") as file:
    print(os.getpid(), file=file)
print("loss=0", flush=True)
time.sleep(600)
"""


class SlowRun(TrialRun):
    """One whose launches and stops take until they may end."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.may_end, self.calls = threading.Event(), list[str]()

    def stop(self) -> None:
        self.calls.append("stop")
        self.may_end.wait(60)

    def launch(self) -> None:
        self.calls.append("launch")
        self.may_end.wait(60)


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {"strategy": "GRID", "parameters": ("k=INT[1,1]",)}
    return made


def run_of(tuning: Tuning, kind: type[TrialRun] = TrialRun) -> TrialRun:
    """Another look at the run of its only trial."""
    platform, [trial] = open_platform(), trials_of(tuning)
    return kind(platform, tuning, trial, plan_of_trial(platform, tuning, trial))


def status_of(name: str) -> TuningStatus | None:
    """What a tuning is; None when there is none yet."""
    with suppress(NotFoundError):
        return open_platform().registry.tunings.get(name).status
    return None


def test_a_run_that_is_over_and_removed_is_launched_by_nobody_who_comes_late(make: MakeTuning) -> None:
    run, threads = run_of(tuned(make("print('loss=1')"))), TrialThreads(1)
    run.conclude(R.SUCCEEDED, "", logs_uploaded=True)
    threads.launch_again(run)
    threads.close()
    assert open_platform().cluster.traces() == []


def test_who_asks_again_and_again_occupies_no_further_thread(make: MakeTuning) -> None:
    run, threads = run_of(tuned(make("print('loss=1')")), SlowRun), TrialThreads(1)
    assert isinstance(run, SlowRun)
    for _ in range(3):
        threads.end(run, R.KILLED, "")
        threads.launch_again(run)
    wait_until(lambda: len(run.calls) > 1)
    run.may_end.set()
    threads.close()
    assert sorted(run.calls) == ["launch", "stop"]


@pytest.mark.req("TUN-05")
def test_a_winner_whose_agent_dies_is_not_started_anew(
    make: MakeTuning, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_with_little_grace(*given: Any) -> RunPlan:
        return plan_of_trial(*given).model_copy(update={"stop_grace_seconds": 5})

    monkeypatch.setattr(trials, "plan_of_trial", plan_with_little_grace)
    starts = tmp_path / "starts"
    thread = threading.Thread(target=tuned, args=(make(GOAL_AT_ONCE, goal=0, hyperparameters={"starts": str(starts)}),))
    thread.start()
    wait_until(lambda: status_of("t") is T.COMPLETE_IN_PROGRESS)
    [run] = stored_runs(home)
    os.kill(agent_pid(run) or 0, signal.SIGKILL)
    thread.join()
    tuning = open_platform().registry.tunings.get("t")
    assert (tuning.status, tuning.best_number, statuses_of(tuning)) == (T.COMPLETE, 1, [R.SUCCEEDED])
    assert len(starts.read_text().split()) == 1
