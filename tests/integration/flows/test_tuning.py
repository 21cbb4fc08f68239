"""The life of a tuning through the flows, with real workers."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import end_processes
from blocks.cluster.run_directory import discard
from blocks.connections.platform import open_platform
from blocks.domain.errors import (
    AlreadyExistsError,
    BusyError,
    InUseError,
    InvalidInputError,
    NotFoundError,
)
from blocks.domain.lifecycle import TrainingStatus, TrialStatus, TuningStatus
from blocks.registry.records import Tuning
from flows.experiment import delete_experiment
from flows.training import copy_training, resume_training, stop_training
from flows.tuning import (
    TuningHandle,
    as_study,
    copy_tuning,
    create_tuning,
    delete_tuning,
    resume_tuning,
    stop_tuning,
)
from flows.tuning_flows import tuning_of
from tasks.monitoring_report import running_report
from tasks.tuning import handle_of_trial
from tasks.tuning_report import tuning_report
from tests.flow_process import another_process
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of
from tests.waiting import wait_until

R, T = TrialStatus, TuningStatus
SLEEPS = "import time\nprint('loss=5', flush=True)\ntime.sleep(600)\n"
WAITS = """
import os, time
while not os.path.exists(os.environ["EM_HP_GO"]):
    time.sleep(0.05)
print("loss=1")
"""
GOOD_OR_SLEEPS = """
import os, time
good = os.environ["EM_HP_KIND"] == "good"
print("loss=0.25" if good else "loss=5", flush=True)
time.sleep(0.2 if good else 600)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@contextmanager
def held(make: MakeTuning, home: Path, **settings: Any) -> Iterator[Tuning]:
    """A tuning that another thread runs: its trials wait for the end of the block, at which the tuning is over."""
    go = home.parent / "go"
    thread = threading.Thread(target=tuned, args=(make(WAITS, hyperparameters={"go": str(go)}, **settings),))
    thread.start()
    try:
        wait_until(lambda: _exists("t") and running("t") == 1, "the trial to run")
        yield open_platform().registry.tunings.get("t")
    finally:
        go.touch()
        thread.join(60)


def running(tuning: str) -> int:
    """How many trials run."""
    return sum(trial.status is R.RUNNING for trial in trials_of(open_platform().registry.tunings.get(tuning)))


@pytest.mark.req("TUN-01", "TUN-02", "TUN-03", "TUN-07", "TUN-11", "TUN-12", "TUN-13", "COM-02")
def test_a_tuning_runs_all_of_its_trials_and_knows_the_best(make: MakeTuning, tmp_path: Path) -> None:
    tuning = tuned(make(max_trainings=6, parallel_trainings=2))
    assert (tuning.status, tuning.completed, tuning.failed, tuning.running) == (T.COMPLETE, 6, 0, 0)
    trials = trials_of(tuning)
    best = min(trials, key=lambda trial: trial.objective or 0)
    assert (tuning.best_number, tuning.best_value) == (best.number, best.objective)
    x, y = (float(best.parameters[name]) for name in "xy")
    assert best.objective == pytest.approx((x - 1) ** 2 + (y + 2) ** 2)
    model = tmp_path / "out" / "t" / str(best.number) / "model.txt"
    assert model.read_text() == f"{x} {y}"
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    history = [move.target for move in open_platform().registry.tunings.history(tuning.id)]
    assert history == [T.CREATE_REQUESTED, T.CREATE_IN_PROGRESS, T.RUNNING, T.COMPLETE_IN_PROGRESS, T.COMPLETE]
    assert list((open_platform().settings.home / "runs").iterdir()) == []
    again = copy_training(f"t/{best.number}")  # an ordinary training with the best parameters
    assert (again.name, again.status) == (f"t-{best.number}", TrainingStatus.COMPLETE)
    assert (tmp_path / "out" / f"t-{best.number}" / "model.txt").exists(), "not where `keep` removes what trials made"


@pytest.mark.req("TUN-08")
def test_the_same_random_state_gives_the_same_points_also_when_the_tuning_was_stopped_and_went_on(
    make: MakeTuning,
) -> None:
    settings = {"strategy": "BAYESIAN_OPTIMIZATION", "max_trainings": 14}
    first = [trial.parameters for trial in trials_of(tuned(make(name="a", **settings)))]
    second = tuned(make(name="b", **settings | {"max_trainings": 11}))
    third = resume_tuning(second.id, max_trainings=14)
    assert third.status is T.COMPLETE
    assert [trial.parameters for trial in trials_of(third)] == first


@pytest.mark.req("TUN-08")
def test_a_grid_is_run_point_by_point_to_its_last_one(make: MakeTuning) -> None:
    spec = make(strategy="GRID", parameters=("x=DOUBLE[0.1,0.7,0.2]", "y=CATEGORICAL[1,2]"), parallel_trainings=2)
    tuning = tuned(spec)
    assert [(t.parameters["x"], t.parameters["y"]) for t in trials_of(tuning)] == [
        (x, y) for x in ("0.1", "0.3", "0.5", "0.7") for y in "12"
    ]
    assert tuning.status is T.COMPLETE


@pytest.mark.req("TUN-05")
def test_reaching_the_goal_ends_the_tuning_and_its_running_trials_at_once(make: MakeTuning, home: Path) -> None:
    spec = make(
        GOOD_OR_SLEEPS,
        strategy="GRID",
        parameters=("kind=CATEGORICAL[bad,good,worse]",),
        parallel_trainings=2,
        goal=0.25,
    )
    tuning = tuned(spec)
    assert (tuning.status, tuning.best_value) == (T.COMPLETE, 0.25)
    assert "goal 0.25 was reached by trial 2" in tuning.reason
    assert statuses_of(tuning) == [R.KILLED, R.SUCCEEDED]
    assert processes_of(home) == []


@pytest.mark.req("TUN-05")
def test_a_trial_that_reports_the_goal_and_goes_on_is_ended_soon_and_is_the_best(make: MakeTuning) -> None:
    source = "import signal, time\nsignal.signal(15, lambda *_: exit())\nprint('loss=0', flush=True)\ntime.sleep(600)\n"
    tuning = tuned(make(source, goal=0))
    assert (tuning.status, tuning.best_number, statuses_of(tuning)) == (T.COMPLETE, 1, [R.SUCCEEDED])
    assert trials_of(tuning)[0].reason.endswith("it has left no model.")


@pytest.mark.req("TUN-06")
def test_failed_trials_and_those_without_metrics_fail_the_tuning_at_the_limit(make: MakeTuning, home: Path) -> None:
    source = """
import os, sys, time
kind = os.environ["EM_HP_KIND"]
if kind == "sleeps":
    print("loss=1", flush=True)
    time.sleep(600)
print("accuracy=1")
sys.exit(kind == "fails")
"""
    spec = make(
        source,
        strategy="GRID",
        parameters=("kind=CATEGORICAL[sleeps,fails,quiet,never]",),
        parallel_trainings=2,
        max_failed_trainings=2,
    )
    tuning = tuned(spec)
    assert tuning.status is T.FAIL_HYPERPARAMETER_TUNING
    assert "2 trainings failed, and max_failed_trainings is 2" in tuning.reason
    assert statuses_of(tuning) == [R.KILLED, R.FAILED, R.METRICS_UNAVAILABLE]
    quiet = trials_of(tuning)[2]
    assert "accuracy" in quiet.reason
    assert processes_of(home) == []


@pytest.mark.req("TUN-06")
def test_a_tuning_whose_trials_all_failed_has_failed_whatever_its_limits(make: MakeTuning) -> None:
    tuning = tuned(make("print('loss=nan')", max_trainings=2))
    assert tuning.status is T.FAIL_HYPERPARAMETER_TUNING
    assert tuning.reason == "All 2 trainings failed. 2 trainings ran, which is all of them"
    assert statuses_of(tuning) == [R.METRICS_UNAVAILABLE] * 2
    assert (tuning.best_number, tuning.best_value) == (None, None)


@pytest.mark.req("TUN-10")
def test_the_maximum_time_ends_the_tuning_and_what_runs(make: MakeTuning, home: Path) -> None:
    source = "import os, time\nprint('loss=1', flush=True)\ntime.sleep(0 if os.environ['EM_HP_K'] == '1' else 600)\n"
    spec = make(source, strategy="GRID", parameters=("k=INT[1,4]",), parallel_trainings=2, max_tuning_minutes=0.1)
    tuning = tuned(spec)
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED, R.KILLED, R.KILLED])
    assert "maximum time" in tuning.reason
    assert processes_of(home) == []


@pytest.mark.req("TUN-10")
def test_a_trial_past_its_own_maximum_time_is_ended_and_counts_as_failed(make: MakeTuning) -> None:
    tuning = tuned(make(SLEEPS, max_trainings=1, max_time_seconds=1))
    assert (statuses_of(tuning), tuning.failed) == ([R.FAILED], 1)
    assert "time limit" in trials_of(tuning)[0].reason


@pytest.mark.req("TUN-09")
def test_a_trial_that_does_worse_than_the_median_is_ended_early_and_its_worker_is_gone(
    make: MakeTuning, home: Path
) -> None:
    source = """
import os, time
k = int(os.environ["EM_HP_K"])
for step in range(1, 4 if k < 4 else 600):
    print(f"step={step} loss={k}", flush=True)
    time.sleep(0.01 if k < 4 else 0.05)
"""
    spec = make(
        source,
        strategy="GRID",
        parameters=("k=INT[1,4]",),
        early_stopping={"min_trainings_required": 3, "start_step": 2},
    )
    tuning = tuned(spec)
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED] * 3 + [R.EARLY_STOPPED])
    stopped = trials_of(tuning)[3]
    assert (stopped.objective, tuning.best_number) == (4, 1)
    assert "worse than the median" in stopped.reason
    assert processes_of(home) == []


@pytest.mark.req("TUN-09", "TUN-17")
def test_thousands_of_reports_are_judged_after_a_kill_as_they_would_have_been_before(
    make: MakeTuning, home: Path
) -> None:
    source = """
import os, time
if os.environ["EM_HP_K"] < "4":
    print("\\n".join(f"loss={9 if report < 3000 else 1}" for report in range(6000)))
else:
    print("\\n".join(["loss=7"] * 4999), flush=True)
    while not os.path.exists(os.environ["EM_HP_GO"]):
        time.sleep(0.05)
    print("loss=7", flush=True)
    time.sleep(600)
"""
    go = home.parent / "go"
    spec = make(
        source,
        strategy="GRID",
        parameters=("k=INT[1,4]",),
        early_stopping={"min_trainings_required": 3, "start_step": 5000},
        hyperparameters={"go": str(go)},
    )

    def reports_of_last() -> int:
        with suppress(NotFoundError):
            registry = open_platform().registry
            return sum(series.count for series in registry.metrics.names(registry.trainings.get("t/4").id))
        return 0

    with another_process(create_tuning, spec) as flow:
        wait_until(lambda: reports_of_last() == 4999, "the last trial to have reported")
        flow.kill()
    go.touch()
    tuning = resume_tuning("t")
    assert statuses_of(tuning) == [R.SUCCEEDED] * 3 + [R.EARLY_STOPPED]
    assert "up to report 5000, 7, is worse than the median" in trials_of(tuning)[3].reason


@pytest.mark.req("TUN-04", "TUN-05")
@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"objective_value": "LAST"}, "loss was reported, but its last value, at step 2, is not a finite number"),
        (
            {"objective_value": "BEST_STEP", "best_step_metric": "error"},
            "loss was reported, but error, which chooses the step that counts, was never a finite number",
        ),
    ],
)
def test_a_trial_whose_report_that_counts_is_no_number_says_so(
    make: MakeTuning, counts: dict[str, str], why: str
) -> None:
    tuning = tuned(
        make("print('step=1 loss=0.5 error=nan')\nprint('step=2 loss=nan error=nan')", max_trainings=1, **counts)
    )
    [trial] = trials_of(tuning)
    assert (trial.status, why in trial.reason) == (R.METRICS_UNAVAILABLE, True), trial.reason


@pytest.mark.req("TUN-04", "TUN-05")
def test_values_that_are_no_numbers_are_shown_and_never_best(make: MakeTuning) -> None:
    source = """
import os
print({"1": "loss=nan", "2": "loss=-inf", "3": "loss=0.5"}[os.environ["EM_HP_K"]])
"""
    tuning = tuned(make(source, strategy="GRID", parameters=("k=INT[1,3]",), goal=0.1))
    assert (tuning.status, tuning.best_number, tuning.best_value) == (T.COMPLETE, 3, 0.5)
    assert statuses_of(tuning) == [R.METRICS_UNAVAILABLE, R.METRICS_UNAVAILABLE, R.SUCCEEDED]
    [shown] = open_platform().registry.metrics.names(trials_of(tuning)[1].training_id)
    assert (shown.last_text, shown.not_finite) == ("-inf", 1)


@pytest.mark.req("TUN-14")
@pytest.mark.usefixtures("forked_followers")
def test_a_stopped_tuning_leaves_no_process_and_goes_on_when_it_is_resumed(make: MakeTuning, home: Path) -> None:
    source = """
import os, pathlib, time
go = pathlib.Path(os.environ["EM_SOURCE_DIR"]).resolve()
print(f"loss={os.environ['EM_HP_X']}", flush=True)
if not pathlib.Path(os.environ["EM_HP_GO"]).exists():
    time.sleep(600)
"""
    go = home.parent / "go"
    spec = make(
        source, max_trainings=3, parallel_trainings=2, hyperparameters={"go": str(go)}, parameters=("x=INT[1,9]",)
    )
    handle = create_tuning(spec, wait=False)
    assert isinstance(handle, TuningHandle)
    wait_until(lambda: running("t") == 2, "two trials to run")
    stopped = stop_tuning("t")
    assert (stopped.status, statuses_of(stopped)) == (T.STOPPED, [R.KILLED, R.KILLED])
    assert processes_of(home) == []
    assert stop_tuning("t").status is T.STOPPED
    points = [trial.parameters for trial in trials_of(stopped)]
    go.touch()
    done = resume_tuning("t")
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.SUCCEEDED] * 3)
    trials = trials_of(done)
    assert [trial.parameters for trial in trials[:2]] == points
    assert [trial.runs for trial in trials] == [2, 2, 1]


@pytest.mark.req("TUN-17", "COM-04")
def test_a_tuning_whose_process_is_killed_goes_on_with_the_trials_that_run(make: MakeTuning, home: Path) -> None:
    source = """
import os, pathlib, time
starts = pathlib.Path(os.environ["EM_HP_STARTS"])
(starts / f"{os.environ['EM_HP_K']}-{os.getpid()}").touch()
while not (starts / "go").exists():
    time.sleep(0.05)
print(f"loss={os.environ['EM_HP_K']}")
"""
    starts = home.parent / "starts"
    starts.mkdir()
    spec = make(
        source,
        strategy="GRID",
        parameters=("k=INT[1,5]",),
        parallel_trainings=2,
        hyperparameters={"starts": str(starts)},
    )
    with another_process(create_tuning, spec) as flow:
        wait_until(lambda: len(list(starts.iterdir())) == 2, "two trials to run")
        flow.kill()
    (starts / "go").touch()
    tuning = resume_tuning("t")
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED] * 5)
    begun = sorted(file.name.partition("-")[0] for file in starts.iterdir() if file.name != "go")
    assert begun == list("12345"), "a worker ran twice"


@pytest.mark.req("TUN-17")
def test_a_trial_goes_on_when_its_agent_is_killed_and_begins_anew_when_its_run_is_removed(
    make: MakeTuning, home: Path
) -> None:
    with held(make, home, max_trainings=1) as tuning:
        layout = RunLayout(home, trials_of(tuning)[0].training_id)
        pid = agent_pid(layout)
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: agent_pid(layout) not in (None, pid), "another agent")
        remove_behind_its_back(layout)
        wait_until(lambda: trials_of(tuning)[0].runs == 2, "the trial to be run again")
    assert statuses_of(tuning) == [R.SUCCEEDED]


def remove_behind_its_back(layout: RunLayout) -> None:
    """Take a run from the cluster as nobody should."""
    end_processes(layout.directory, 0)
    discard(layout.directory)
    layout.events.unlink()


def _exists(name: str) -> bool:
    try:
        open_platform().registry.tunings.get(name)
    except NotFoundError:
        return False
    return True


@pytest.mark.req("TUN-14", "TRN-17", "COM-06")
def test_what_is_missing_fails_the_creation_and_can_be_asked_for_again(make: MakeTuning, tmp_path: Path) -> None:
    spec = make(datasets={"train": f"file://{tmp_path}/data"}, max_trainings=1)
    failed = tuned(spec)
    assert failed.status is T.CREATE_FAILED
    assert f"{tmp_path}/data" in failed.reason
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("1")
    assert resume_tuning("t").status is T.COMPLETE


def test_settings_that_are_wrong_are_refused_before_anything_is_made(make: MakeTuning) -> None:
    for wrong in (
        {"flavor": "huge"},
        {"image": "none"},
        {"warm_start": "nothing"},
    ):
        with pytest.raises((InvalidInputError, NotFoundError)):
            create_tuning(make(**wrong))
    assert open_platform().registry.tunings.page().items == ()


@pytest.mark.req("TUN-14", "COM-03", "EXP-05")
def test_a_tuning_is_copied_with_overrides_and_deleted_when_it_is_over(make: MakeTuning, tmp_path: Path) -> None:
    first = tuned(make(max_trainings=2))
    copy = copy_tuning("t", max_trainings=1, parameters={"x": "DOUBLE[0,1]"})
    assert isinstance(copy, Tuning)
    assert (copy.name, copy.completed) == ("t-2", 1)
    assert 0 <= float(trials_of(copy)[0].parameters["x"]) <= 1
    with pytest.raises(AlreadyExistsError):
        create_tuning(make(max_trainings=1))
    with pytest.raises(InUseError, match="tuning"):
        delete_experiment("default")
    delete_tuning("t")
    delete_tuning("t-2")
    with pytest.raises(NotFoundError):
        open_platform().registry.tunings.get(first.id)
    assert (tmp_path / "out" / "t" / "1" / "model.txt").exists()
    assert list(open_platform().settings.home.glob("tensorboard/*/tuning*")) == []
    delete_experiment("default")


@pytest.mark.req("TUN-14")
@pytest.mark.usefixtures("forked_followers")
def test_a_tuning_that_runs_is_not_deleted(make: MakeTuning) -> None:
    create_tuning(make(SLEEPS, max_trainings=1), wait=False)
    wait_until(lambda: running("t") == 1, "the trial to run")
    with pytest.raises(BusyError, match="tuning stop t"):
        delete_tuning("t")
    stop_tuning("t")


@pytest.mark.req("TUN-17")
def test_limits_that_are_given_while_another_process_runs_a_tuning_are_taken_after_that(
    make: MakeTuning, home: Path
) -> None:
    with held(make, home, max_trainings=1):
        handle = TuningHandle.resumed("t", max_trainings=2)
        with pytest.raises(ValidationError):
            TuningHandle.resumed("t", max_trainings=0)
    wait_until(lambda: handle.refresh().completed == 2, "the second trial")
    assert handle.wait().status is T.COMPLETE


@pytest.mark.req("TUN-14")
def test_a_tuning_that_somebody_goes_on_with_meanwhile_loses_nothing_to_who_deletes_it(make: MakeTuning) -> None:
    tuning = tuned(make(max_trainings=1))
    registry = open_platform().registry
    with ThreadPoolExecutor() as pool:
        with registry.lease(tuning.id):
            deletion = pool.submit(delete_tuning, "t")
            time.sleep(1)
            registry.tunings.go_on(tuning.id, tuning.spec, "gone on with")
        with pytest.raises(BusyError):
            deletion.result()
    assert list(open_platform().settings.home.glob("tensorboard/*/tuning t"))
    assert resume_tuning("t").status is T.COMPLETE


@pytest.mark.req("TUN-13", "TUN-14")
def test_a_trial_is_neither_stopped_nor_resumed_without_its_tuning(make: MakeTuning, home: Path) -> None:
    with held(make, home, max_trainings=1) as tuning:
        with pytest.raises(InUseError, match="tuning stop t"):
            stop_training("t/1")
        with pytest.raises(InUseError, match="tuning resume t"):
            resume_training("t/1")
        assert statuses_of(tuning) == [R.RUNNING]
    assert statuses_of(tuning) == [R.SUCCEEDED]


@pytest.mark.req("TUN-17")
def test_a_tuning_goes_on_whose_trial_was_stopped_as_a_training(make: MakeTuning, home: Path) -> None:
    platform = open_platform()
    with held(make, home, max_trainings=2) as tuning:
        [trial] = trials_of(tuning)
        platform.registry.trainings.move(trial.training_id, TrainingStatus.STOP_IN_PROGRESS)
        platform.cluster.stop(handle_of_trial(trial), 0)
    done = platform.registry.tunings.get("t")
    assert (done.status, done.completed) == (T.COMPLETE, 2)


@pytest.mark.req("TUN-01")
def test_only_the_best_outputs_are_kept_when_that_is_asked_for(make: MakeTuning, tmp_path: Path) -> None:
    tuning = tuned(make(max_trainings=5, parallel_trainings=2, keep="best 2"))
    order = sorted(trials_of(tuning), key=lambda trial: trial.objective or 0)
    kept = sorted(int(folder.name) for folder in (tmp_path / "out" / "t").iterdir() if any(folder.rglob("model.txt")))
    assert kept == sorted(trial.number for trial in order[:2])
    assert tuning.best_number == order[0].number


@pytest.mark.req("TUN-08")
def test_a_warm_start_learns_from_what_fits_and_says_what_does_not(make: MakeTuning) -> None:
    tuned(make(name="coarse", max_trainings=6))
    points = [trial.parameters for trial in trials_of(open_platform().registry.tunings.get("coarse"))]
    fits = [point for point in points if float(point["x"]) >= 0]
    warm = tuned(
        make(
            name="fine",
            strategy="BAYESIAN_OPTIMIZATION",
            parameters=("x=DOUBLE[0,5]", "y=DOUBLE[-5,5]"),
            max_trainings=1,
            warm_start="coarse",
        )
    )
    assert len(warm.learned) == len(fits)
    told = " ".join(move.reason for move in open_platform().registry.tunings.history(warm.id))
    assert f"learns from {len(fits)} of 6 trials of coarse" in told
    assert "outside of the space" in told
    assert warm.completed == 1
    none = tuned(make(name="other", parameters=("z=DOUBLE[0,5]",), max_trainings=1, warm_start="coarse"))
    told = " ".join(move.reason for move in open_platform().registry.tunings.history(none.id))
    assert "learns from 0 of 6 trials of coarse. Not of the others: it has no z (6)" in told


@pytest.mark.req("TUN-16", "EXP-03", "ENV-02")
def test_tensorboard_has_every_trial_with_its_hyperparameters(make: MakeTuning) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tuning = tuned(make(max_trainings=2))
    root = open_platform().settings.home / "tensorboard" / tuning.experiment_id / "tuning t"
    for trial in trials_of(tuning):
        events = EventAccumulator(str(root / str(trial.number) / "metrics"))
        events.Reload()
        assert events.Scalars("loss")[0].value == pytest.approx(trial.objective)
        assert "hparams" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name


def test_the_report_shows_progress_the_best_and_the_trials(make: MakeTuning) -> None:
    tuning = tuned(make(max_trainings=3))
    report = tuning_report(tuning, trials_of(tuning))
    assert "3 of 3 have run" in report
    assert "data:image/svg+xml" in report
    assert report.count("SUCCEEDED") == 3


def test_a_tuning_is_an_optuna_study_with_all_of_its_trials_that_changes_nothing(make: MakeTuning) -> None:
    tuning = tuned(make(max_trainings=4))
    trials, best = trials_of(tuning), tuning.best_number or 0
    study = as_study("t")
    assert study.best_value == tuning.best_value
    assert study.best_params == {name: float(value) for name, value in trials[best - 1].parameters.items()}
    assert study.best_trial.user_attrs["makerflow:training"] == f"t/{best}"
    assert [trial.value for trial in study.trials] == [trial.objective for trial in trials]
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5), n_trials=1)
    assert len(as_study(tuning.id).trials) == 4
    assert trials_of(tuning) == trials
    with pytest.raises(NotFoundError, match="none-such"):
        as_study("none-such")


@pytest.mark.req("COM-08", "TUN-12")
@pytest.mark.usefixtures("forked_followers")
def test_the_report_shows_what_the_trials_use_that_run(make: MakeTuning) -> None:
    create_tuning(make(SLEEPS, max_trainings=2, parallel_trainings=2), wait=False)
    registry = open_platform().registry

    def shown() -> str:
        row = registry.tunings.get("t")
        return running_report(row, registry.tunings.trials(row.id), registry.monitoring)

    wait_until(lambda: running("t") == 2 and shown().count("\n") == 3, "both to be looked at")
    assert shown().startswith("| Trial | Worker | Host | CPU")
    stopped = stop_tuning("t")
    assert shown() == ""
    assert stopped.status is T.STOPPED


@pytest.mark.req("COM-04", "TUN-14")
def test_a_flow_run_that_took_up_a_tuning_knows_which_one_it_is_about(make: MakeTuning) -> None:
    tuning = tuned(make("print('loss=1')", max_trainings=1))
    parameters = {"spec": tuning.current_spec.model_dump(mode="json")}
    taken_up = FlowRun(flow_id=uuid4(), parameters=parameters)
    assert tuning_of(taken_up).id == tuning.id
    assert tuning_of(FlowRun(flow_id=uuid4(), parameters={"key": "t"})).id == tuning.id
    for other in (
        {"auto_scheduled": True},
        {"parameters": {"spec": {"name": "t"}}},
        {"parameters": {"spec": {**parameters["spec"], "description": "another"}}},
        {"parameters": {"original": "t"}},
    ):
        with pytest.raises(NotFoundError):
            tuning_of(taken_up.model_copy(update=other))
