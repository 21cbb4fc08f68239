"""A tuning whose flow dies between a decision and what it leads to: who goes on comes to the same end."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.layout import RunLayout
from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError, RegistryUnavailableError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Trial, Tuning
from blocks.registry.tunings import Tunings
from flows.tuning import create_tuning, resume_tuning
from tasks import engine
from tasks.trial_threads import TrialThreads
from tasks.trials import _Control
from tasks.tuning import CONCLUSIONS, handle_of_trial
from tests.flow_process import another_process
from tests.integration.flows.test_tuning import remove_behind_its_back
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TUN-17", "COM-04")

R, T = TrialStatus, TuningStatus

BEFORE_ANY_IS_STOPPED = (TrialThreads, "end")
RIGHT_AFTER_THE_MOVE = (_Control, "_stop_all")
Place = tuple[type, str]

GOES_ON_AFTER_THE_GOAL = """
import os, pathlib, time
good = os.environ["EM_HP_KIND"] == "good"
print("loss=0.25" if good else "loss=5", flush=True)
while not good or not pathlib.Path(os.environ["EM_HP_GO"]).exists():
    time.sleep(0.05)
time.sleep(2)
pathlib.Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("good")
"""
FROM_4_ON_WORSE = """
import os, time
k = int(os.environ["EM_HP_K"])
for step in range(1, 4 if k < 4 else 600):
    print(f"step={step} loss={k}", flush=True)
    time.sleep(0.01 if k < 4 else 0.05)
"""
FIRST_ENDS = """
import os, sys, time
print(f"loss={os.environ['EM_HP_K']}", flush=True)
time.sleep(0 if os.environ["EM_HP_K"] == "1" else 600)
sys.exit(os.environ["EM_HP_FAILS"] == "yes")
"""
WAITS = """
import os, pathlib, time
print(f"loss={os.environ['EM_HP_K']}", flush=True)
while not pathlib.Path(os.environ["EM_HP_GO"]).exists():
    time.sleep(0.05)
"""
COUNTS_ITS_STARTS = (
    """
import os
with open(os.environ["EM_HP_GO"] + ".starts", "a") as file:
    print(os.getpid(), file=file)
"""
    + WAITS
)
BEGINS_BADLY = """
import os, pathlib, time
late = os.environ["EM_HP_K"] == "1"
print("step=1 loss=9" if late else "step=1 loss=1", flush=True)
if late:
    print("step=2 loss=0", flush=True)
    while not pathlib.Path(os.environ["EM_HP_GO"]).exists():
        time.sleep(0.05)
    time.sleep(2)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {"strategy": "GRID", "hyperparameters": {"go": str(tmp_path / "go")}}
    return made


class Death(BaseException):
    """The process ends here: nothing that follows is done."""


def died(spec: TuningSpec, place: Place) -> Tuning:
    """The tuning as its flow left it that died where it would have called this."""

    def die(*_: object) -> None:
        raise Death

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(*place, die)
        with pytest.raises(Death):
            create_tuning(spec)
    return open_platform().registry.tunings.get(spec.name)


@contextmanager
def ended_by(number: signal.Signals, spec: TuningSpec) -> Iterator[None]:
    """A tuning whose flow is a process of its own that ends by this signal once the block does."""
    with another_process(create_tuning, spec) as flow:
        try:
            yield
        finally:
            os.kill(flow.pid or 0, number)
    assert flow.exitcode == -number


def seen(name: str) -> list[TrialStatus]:
    """What the trials of a tuning are that there may not be yet."""
    try:
        return statuses_of(open_platform().registry.tunings.get(name))
    except NotFoundError:
        return []


@contextmanager
def meanwhile(work: Callable[[TuningSpec], Tuning], spec: TuningSpec, *, go: Path) -> Iterator[Future[Tuning]]:
    """Work in a thread, whose trials end once this does."""
    with ThreadPoolExecutor() as threads:
        try:
            yield threads.submit(work, spec)
        finally:
            go.touch()


@pytest.mark.req("TUN-05")
@pytest.mark.parametrize(
    ("place", "left"), [(BEFORE_ANY_IS_STOPPED, T.RUNNING), (RIGHT_AFTER_THE_MOVE, T.COMPLETE_IN_PROGRESS)]
)
def test_the_trial_that_has_reached_the_goal_is_the_best_and_may_end_by_itself(
    make: MakeTuning, home: Path, tmp_path: Path, place: Place, left: TuningStatus
) -> None:
    space = ("kind=CATEGORICAL[bad,good]",)
    spec = make(GOES_ON_AFTER_THE_GOAL, parameters=space, parallel_trainings=2, goal=0.25)
    assert died(spec, place).status is left
    (tmp_path / "go").touch()
    done = resume_tuning("t")
    assert (done.status, done.best_number, statuses_of(done)) == (T.COMPLETE, 2, [R.KILLED, R.SUCCEEDED])
    assert "goal 0.25 was reached by trial 2" in done.reason
    assert (tmp_path / "out" / "t" / "2" / "model.txt").read_text() == "good"
    assert processes_of(home) == []


@pytest.mark.req("TUN-06", "TUN-10")
@pytest.mark.parametrize(
    ("rule", "left", "told"),
    [
        (
            {"max_failed_trainings": 1, "hyperparameters": {"fails": "yes"}},
            T.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS,
            "max_failed_trainings is 1",
        ),
        ({"max_tuning_minutes": 0.1, "hyperparameters": {"fails": "no"}}, T.COMPLETE_IN_PROGRESS, "maximum time"),
    ],
)
def test_what_runs_when_a_rule_ends_the_tuning_is_ended_by_who_goes_on_and_nothing_is_begun(
    make: MakeTuning, home: Path, rule: dict[str, Any], left: TuningStatus, told: str
) -> None:
    spec = make(FIRST_ENDS, parameters=("k=INT[1,4]",), parallel_trainings=2, **rule)
    assert died(spec, RIGHT_AFTER_THE_MOVE).status is left
    begun = statuses_of(open_platform().registry.tunings.get("t"))
    assert len(begun) > 1
    assert set(begun[1:]) <= {R.CREATED, R.RUNNING}
    done = resume_tuning("t")
    assert (done.status, told in done.reason) == (CONCLUSIONS[left], True)
    assert statuses_of(done) == [begun[0], *[R.KILLED] * (len(begun) - 1)]
    assert processes_of(home) == []


@pytest.mark.req("TUN-09")
def test_a_trial_that_was_to_be_ended_early_is_ended_early(make: MakeTuning, home: Path) -> None:
    spec = make(
        FROM_4_ON_WORSE,
        parameters=("k=INT[1,4]",),
        early_stopping={"min_trainings_required": 3, "start_step": 2},
    )
    row = died(spec, BEFORE_ANY_IS_STOPPED)
    platform = open_platform()
    asked = platform.registry.tunings.trial(row.id, 4)
    assert (asked.status, asked.verdict) == (R.RUNNING, R.EARLY_STOPPED)
    platform.cluster.stop(handle_of_trial(asked), 0)  # as the flow was about to do
    done = resume_tuning("t")
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.SUCCEEDED] * 3 + [R.EARLY_STOPPED])
    assert [trial.runs for trial in trials_of(done)] == [1] * 4
    assert "worse than the median" in trials_of(done)[3].reason
    assert processes_of(home) == []


@pytest.mark.req("TUN-09")
def test_a_tuning_whose_flow_is_killed_and_terminated_ends_the_same_trials_early(make: MakeTuning, home: Path) -> None:
    settings = {"parameters": ("k=INT[1,7]",), "early_stopping": {"min_trainings_required": 3, "start_step": 2}}
    undisturbed = [
        (trial.status, trial.objective) for trial in trials_of(tuned(make(FROM_4_ON_WORSE, "u", **settings)))
    ]
    assert [status for status, _ in undisturbed] == [R.SUCCEEDED] * 3 + [R.EARLY_STOPPED] * 4
    spec = make(FROM_4_ON_WORSE, **settings)
    for number, early in ((signal.SIGKILL, 1), (signal.SIGTERM, 2)):
        with ended_by(number, spec):
            wait_until(lambda early=early: seen("t").count(R.EARLY_STOPPED) >= early)
    done = tuned(spec)
    assert [(trial.status, trial.objective) for trial in trials_of(done)] == undisturbed
    assert [trial.runs for trial in trials_of(done)] == [1] * 7
    assert processes_of(home) == []


@pytest.mark.req("TUN-09")
def test_a_trial_that_began_badly_is_not_judged_once_more_by_how_it_began(
    make: MakeTuning, home: Path, tmp_path: Path
) -> None:
    """Of its first report there was no median yet; by the time that somebody goes on there is one."""
    spec = make(
        BEGINS_BADLY,
        parameters=("k=INT[1,4]",),
        parallel_trainings=2,
        early_stopping={"min_trainings_required": 3, "start_step": 1},
    )
    with ended_by(signal.SIGKILL, spec):
        wait_until(lambda: seen("t") == [R.RUNNING, *[R.SUCCEEDED] * 3])
    (tmp_path / "go").touch()
    done = resume_tuning("t")
    assert (done.best_number, statuses_of(done)) == (1, [R.SUCCEEDED] * 4)


@pytest.mark.req("TUN-08", "TUN-13")
def test_a_trial_whose_agent_is_asked_to_end_is_run_again_and_the_grid_loses_no_point(
    make: MakeTuning, home: Path, tmp_path: Path
) -> None:
    """As `systemctl stop`, the shutdown of a machine, or somebody with `kill` does."""
    spec = make(WAITS, parameters=("k=INT[1,3]",), parallel_trainings=2)
    with meanwhile(tuned, spec, go=tmp_path / "go") as done:
        wait_until(lambda: seen("t") == [R.RUNNING] * 2)
        first = trials_of(open_platform().registry.tunings.get("t"))[0]
        pid = agent_pid(RunLayout(home, first.training_id))
        assert pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: trials_of(open_platform().registry.tunings.get("t"))[0].runs == 2, "it to be run again")
    tuning = done.result()
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED] * 3)
    assert [(trial.runs, trial.parameters["k"]) for trial in trials_of(tuning)] == [(2, "1"), (1, "2"), (1, "3")]
    assert list((home / "runs").iterdir()) == []


def test_a_trial_whose_run_is_gone_when_somebody_goes_on_runs_once_more_and_not_twice(
    make: MakeTuning, home: Path, tmp_path: Path
) -> None:
    spec = make(COUNTS_ITS_STARTS, parameters=("k=INT[1,1]",))
    with ended_by(signal.SIGKILL, spec):
        wait_until(lambda: seen("t") == [R.RUNNING])
    [lost] = trials_of(open_platform().registry.tunings.get("t"))
    remove_behind_its_back(RunLayout(home, lost.training_id))
    with meanwhile(lambda _: resume_tuning("t"), spec, go=tmp_path / "go"):
        wait_until(lambda: trials_of(open_platform().registry.tunings.get("t"))[0].runs == 2)
        time.sleep(1)  # one more would start as late as that
    [trial] = trials_of(open_platform().registry.tunings.get("t"))
    assert (trial.status, trial.runs) == (R.SUCCEEDED, 2)
    assert len((tmp_path / "go.starts").read_text().split()) == 2


@pytest.mark.req("TUN-14")
@pytest.mark.parametrize("about_to", [T.RUNNING, T.COMPLETE_IN_PROGRESS])
def test_who_is_stopped_by_another_process_while_it_is_about_to_move_on_stops(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch, about_to: TuningStatus
) -> None:
    move = Tunings.move

    def stopped_just_before(self: Tunings, id: str, to: TuningStatus, reason: str = "") -> Tuning:
        if to is about_to:
            move(self, id, T.STOP_IN_PROGRESS, "stopped on request")
        return move(self, id, to, reason)

    monkeypatch.setattr(Tunings, "move", stopped_just_before)
    tuning = tuned(make("print('loss=1')", parameters=("k=INT[1,1]",)))
    assert (tuning.status, tuning.reason) == (T.STOPPED, "stopped on request")
    assert statuses_of(tuning) == ([R.SUCCEEDED] if about_to is T.COMPLETE_IN_PROGRESS else [])


@pytest.mark.parametrize(("outages", "status", "errors"), [(1, T.COMPLETE, 6), (99, T.RUNNING, 5)])
def test_errors_that_pass_end_a_flow_only_when_nothing_goes_on_between_them(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch, outages: int, status: TuningStatus, errors: int
) -> None:
    add_trial, asked = Tunings.add_trial, Counter[int]()

    def unavailable_first(self: Tunings, tuning: Tuning, number: int, *given: Any) -> Trial:
        asked[number] += 1
        if number > 1 and asked[number] <= outages:
            raise RegistryUnavailableError("it restarts")
        return add_trial(self, tuning, number, *given)

    monkeypatch.setattr(Tunings, "add_trial", unavailable_first)
    monkeypatch.setattr(engine, "RETRY_DELAYS_SECONDS", [0.0] * 3)
    with suppress(RegistryUnavailableError):
        create_tuning(make("print('loss=1')", parameters=("k=INT[1,7]",)))
    tuning = open_platform().registry.tunings.get("t")
    assert (tuning.status, asked.total() - tuning.completed) == (status, errors)
