"""What becomes of a tuning when runs of its trials cannot be launched, for a while or for good."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster import local
from blocks.cluster.agent_process import agent_pid
from blocks.cluster.run_directory import stored_runs
from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.plan import RunPhase
from flows.tuning import create_tuning, resume_tuning
from tasks import trials
from tasks.tuning_page import TuningPage
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TUN-13", "COM-04")

R, T = TrialStatus, TuningStatus

SECOND_ENDS = """
import os, time
print(f"loss={os.environ['EM_HP_K']}", flush=True)
time.sleep(0 if os.environ["EM_HP_K"] == "2" else 600)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {"strategy": "GRID", "parameters": ("k=INT[1,4]",)}
    return made


@pytest.fixture
def delete_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes what trials need to reach their stores unknown."""
    deleted = threading.Event()
    secrets = Platform.secrets

    def secrets_if_there(self: Platform, plan: Any) -> Any:
        if deleted.is_set():
            raise NotFoundError("connection", "store")
        return secrets(self, plan)

    monkeypatch.setattr(Platform, "secrets", secrets_if_there)
    return deleted.set


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
    """Let the machine start no agent so many times."""
    start_agent = local.start_agent

    def start(*given: Any) -> None:
        nonlocal times
        times -= 1
        if times >= 0:
            raise error
        start_agent(*given)

    monkeypatch.setattr(local, "start_agent", start)


def test_a_machine_that_can_start_nothing_for_a_moment_is_asked_again(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), times=1)
    tuning = tuned(make("print('loss=1')", parameters=("k=INT[1,2]",)))
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED] * 2)
    assert [trial.runs for trial in trials_of(tuning)] == [1, 1]


@pytest.mark.req("COM-05")
def test_a_connection_that_is_deleted_meanwhile_fails_the_tuning_and_ends_what_runs(
    make: MakeTuning, home: Path, delete_connection: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trial = open_platform().registry.tunings.add_trial

    def add(tuning: Any, number: int, *given: Any) -> Any:
        if number == 3:
            delete_connection()
        return add_trial(tuning, number, *given)

    monkeypatch.setattr(open_platform().registry.tunings, "add_trial", add)
    tuning = tuned(make(SECOND_ENDS, parallel_trainings=2))
    assert (tuning.status, statuses_of(tuning)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.KILLED, R.SUCCEEDED, R.FAILED])
    assert "no connection 'store'" in tuning.reason
    assert trials_of(tuning)[2].reason == tuning.reason
    assert processes_of(home) == []


@pytest.mark.req("COM-05")
def test_a_trial_that_cannot_be_started_anew_after_its_agent_died_fails_the_tuning(
    make: MakeTuning, home: Path, delete_connection: Callable[[], None]
) -> None:
    thread = threading.Thread(target=tuned, args=(make(SECOND_ENDS, parameters=("k=INT[1,1]",)),))
    thread.start()
    wait_until(lambda: [one.phase for one in open_platform().cluster.traces()] == [RunPhase.RUNNING])
    delete_connection()
    [run] = stored_runs(home)
    os.kill(agent_pid(run) or 0, signal.SIGKILL)
    thread.join()
    tuning = open_platform().registry.tunings.get("t")
    assert (tuning.status, statuses_of(tuning)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.FAILED])
    assert "no connection 'store'" in tuning.reason
    assert processes_of(home) == []


def test_what_nobody_has_foreseen_is_told_on_the_tuning_that_it_left_until_somebody_goes_on(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("can't start new thread"), times=1)
    spec = make("print('loss=1')", parameters=("k=INT[1,1]",))
    with pytest.raises(RuntimeError):
        create_tuning(spec)
    left = open_platform().registry.tunings.get("t")
    assert left.status is T.RUNNING
    assert "RuntimeError: can't start new thread" in left.reason
    assert left.reason.endswith("Nobody goes on with it now: makerflow tuning resume t")
    reasons = []
    monkeypatch.setattr(
        TuningPage, "report", lambda _: reasons.append(open_platform().registry.tunings.get("t").reason)
    )
    done = resume_tuning("t")
    assert (done.status, statuses_of(done), reasons[0]) == (T.COMPLETE, [R.SUCCEEDED], "trials begin")


@pytest.mark.req("TUN-05")
def test_what_has_ended_a_tuning_is_told_at_its_end_though_its_flow_broke_down_before(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("something unforeseen")

    with monkeypatch.context() as patched:
        patched.setattr(trials._Control, "_stop_all", break_down)
        with pytest.raises(RuntimeError):
            create_tuning(make("print('loss=1')", goal=1))
    left = open_platform().registry.tunings.get("t")
    assert (left.status, "something unforeseen" in left.reason) == (T.COMPLETE_IN_PROGRESS, True)
    done = resume_tuning("t")
    assert (done.status, done.best_number) == (T.COMPLETE, 1)
    assert "goal 1 was reached by trial 1" in done.reason
