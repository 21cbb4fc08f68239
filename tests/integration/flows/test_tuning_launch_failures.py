"""What becomes of a tuning when runs of its trials cannot be launched, for a while or for good."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster import local
from blocks.cluster.agent_process import agent_pid
from blocks.cluster.base import Selector
from blocks.cluster.layout import RunLayout
from blocks.cluster.local import LocalCluster
from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import NotFoundError, PlaceGoneError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.plan import RunPhase
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Tuning
from flows.tuning import create_tuning, resume_tuning
from tasks import launch_pause, trials
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
def deleted(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, what trials need to reach their stores is unknown."""
    deleted = threading.Event()
    secrets = Platform.secrets

    def secrets_if_there(self: Platform, plan: Any) -> Any:
        if deleted.is_set():
            raise NotFoundError("connection", "store")
        return secrets(self, plan)

    monkeypatch.setattr(Platform, "secrets", secrets_if_there)
    return deleted


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
    make: MakeTuning, home: Path, deleted: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trial = open_platform().registry.tunings.add_trial

    def add(tuning: Any, number: int, *given: Any) -> Any:
        if number == 3:
            deleted.set()
        return add_trial(tuning, number, *given)

    monkeypatch.setattr(open_platform().registry.tunings, "add_trial", add)
    tuning = tuned(make(SECOND_ENDS, parallel_trainings=2))
    assert (tuning.status, statuses_of(tuning)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.KILLED, R.SUCCEEDED, R.FAILED])
    assert "no connection 'store'" in tuning.reason
    assert trials_of(tuning)[2].reason == tuning.reason
    assert processes_of(home) == []


TELLS_AND_WAITS = """
import os, pathlib, time
print(f"loss={os.environ['EM_HP_K']}", flush=True)
while not pathlib.Path(os.environ["EM_HP_GO"], os.environ["EM_HP_K"]).exists():
    time.sleep(0.05)
"""


def lose_first(home: Path) -> None:
    """Kill the agent of the first trial."""
    [first, *_] = trials_of(open_platform().registry.tunings.get("t"))
    os.kill(agent_pid(RunLayout(home, first.training_id)) or 0, signal.SIGKILL)


def all_run() -> bool:
    """Whether three trials do, by what is known of them."""
    with suppress(NotFoundError):
        return statuses_of(open_platform().registry.tunings.get("t")) == [R.RUNNING] * 3
    return False


@pytest.fixture
def waiting(
    make: MakeTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> TuningSpec:
    """Trials that run until a file of their number is there, three at once; there may be a fourth."""
    monkeypatch.setenv("MAKERFLOW_CPUS", "3")
    monkeypatch.setattr(trials, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(launch_pause, "FIRST_SECONDS", 0.1)
    settings = {"parallel_trainings": 3, "hyperparameters": {"go": str(tmp_path)}}
    last = getattr(request, "param", 3)
    return make(TELLS_AND_WAITS, parameters=(f"k=INT[1,{last}]",), **settings)


@contextmanager
def three_running(spec: TuningSpec, tmp_path: Path) -> Iterator["Future[Tuning]"]:
    """The tuning, once its trials run; at the end of the block they may end."""
    with ThreadPoolExecutor(1) as pool:
        try:
            tuning = pool.submit(tuned, spec)
            wait_until(all_run)
            yield tuning
        finally:
            for number in ("1", "2", "3", "4"):
                (tmp_path / number).touch()


@pytest.mark.req("COM-05")
@pytest.mark.parametrize("waiting", [4], indirect=True)
def test_no_further_trial_begins_while_a_lost_one_may_not_be_launched_again(
    waiting: TuningSpec, home: Path, tmp_path: Path, deleted: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    with three_running(waiting, tmp_path) as tuning:
        deleted.set()
        lose_first(home)
        wait_until(lambda: "cannot be launched again yet" in caplog.text)
        (tmp_path / "2").touch()
        tunings = open_platform().registry.tunings
        wait_until(lambda: statuses_of(tunings.get("t"))[:3] == [R.RUNNING, R.SUCCEEDED, R.RUNNING])
        deleted.clear()
        wait_until(lambda: statuses_of(tunings.get("t")) == [R.RUNNING, R.SUCCEEDED, R.RUNNING, R.RUNNING])
    row = tuning.result()
    assert (row.status, statuses_of(row)) == (T.COMPLETE, [R.SUCCEEDED] * 4)


@pytest.mark.req("COM-05")
def test_others_go_on_while_a_lost_trial_may_not_be_launched_again_and_it_goes_on_once_it_may(
    waiting: TuningSpec, home: Path, tmp_path: Path, deleted: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    with three_running(waiting, tmp_path) as tuning:
        deleted.set()
        lose_first(home)
        wait_until(lambda: "cannot be launched again yet" in caplog.text)
        (tmp_path / "2").touch()
        tunings = open_platform().registry.tunings
        wait_until(lambda: statuses_of(tunings.get("t")) == [R.RUNNING, R.SUCCEEDED, R.RUNNING])
        deleted.clear()
        cluster = open_platform().cluster
        wait_until(lambda: all(state.phase is not RunPhase.LOST for state in cluster.find(Selector())))
    row = tuning.result()
    assert (row.status, statuses_of(row)) == (T.COMPLETE, [R.SUCCEEDED] * 3)
    assert [trial.runs for trial in trials_of(row)] == [1] * 3


@pytest.mark.req("COM-05")
def test_a_tuning_of_which_nothing_runs_but_lost_trials_that_are_refused_is_left_until_somebody_goes_on_with_it(
    waiting: TuningSpec, home: Path, tmp_path: Path, deleted: threading.Event
) -> None:
    with three_running(waiting, tmp_path) as tuning:
        deleted.set()
        lose_first(home)
        for number in ("2", "3"):
            (tmp_path / number).touch()
        for left in (tuning.result, lambda: resume_tuning("t")):
            with pytest.raises(NotFoundError, match="no connection 'store'"):
                left()
            row = open_platform().registry.tunings.get("t")
            assert (row.status, statuses_of(row)) == (T.RUNNING, [R.RUNNING, R.SUCCEEDED, R.SUCCEEDED])
            assert "no connection 'store'" in row.reason
    deleted.clear()
    done = resume_tuning("t")
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.SUCCEEDED] * 3)


@pytest.mark.req("TRN-13")
def test_a_lost_trial_whose_place_is_gone_fails_the_tuning(
    waiting: TuningSpec, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PlaceGoneError("The namespace is being terminated.")

    with three_running(waiting, tmp_path) as tuning:
        monkeypatch.setattr(LocalCluster, "launch", refuse)
        lose_first(home)
        row = tuning.result(60)
    assert (row.status, statuses_of(row)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.FAILED, R.KILLED, R.KILLED])
    assert row.reason == "The namespace is being terminated."
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
