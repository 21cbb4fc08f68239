"""Tunings as Optuna studies."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.database import Registry
from blocks.registry.records import Tuning
from blocks.studies.study import MOST_POINTS, TrialReader, study_of
from tests.doubles.tunings import (
    end_trial,
    make_tuning,
    multiply,
    point,
    report,
    run_trials,
    start_trial,
)

T = TypeVar("T")


@pytest.fixture
def tuning(registry: Registry) -> Tuning:
    return make_tuning(registry, "digits-tuning")


def one_of_each(registry: Registry, tuning: Tuning) -> None:
    """Trial n has the n-th status, all of them."""
    for number, status in enumerate(TrialStatus, 1):
        if status is TrialStatus.CREATED:
            registry.tunings.add_trial(tuning, number, point(number), f"trn-{number}")
            continue
        trial = start_trial(registry, tuning, number, {1: 0.5, 2: 0.25, 7: None})
        if status is TrialStatus.METRICS_UNAVAILABLE:
            end_trial(registry, trial, status, reason="no report of val_loss")
        elif status is not TrialStatus.RUNNING:
            end_trial(registry, trial, status, 0.25, f"it is {status.value}")


@pytest.mark.req("TUN-13")
def test_every_trial_is_in_the_study_whatever_became_of_it(registry: Registry, tuning: Tuning) -> None:
    one_of_each(registry, tuning)
    found = {trial.user_attrs["makerflow:status"]: trial for trial in study_of(registry, tuning.id).trials}
    assert {status: trial.state for status, trial in found.items()} == {
        "CREATED": TrialState.RUNNING,
        "RUNNING": TrialState.RUNNING,
        "SUCCEEDED": TrialState.COMPLETE,
        "EARLY_STOPPED": TrialState.PRUNED,
        "FAILED": TrialState.FAIL,
        "KILLED": TrialState.FAIL,
        "METRICS_UNAVAILABLE": TrialState.FAIL,
    }
    assert {status: trial.value for status, trial in found.items() if trial.value is not None} == {
        "SUCCEEDED": 0.25,
        "EARLY_STOPPED": 0.25,
    }
    assert found["FAILED"].user_attrs["makerflow:objective"] == 0.25
    assert found["FAILED"].user_attrs["makerflow:reason"] == "it is FAILED"
    assert "makerflow:objective" not in found["METRICS_UNAVAILABLE"].user_attrs
    for number, status in enumerate(TrialStatus, 1):
        trial = found[status.value]
        assert trial.number == number - 1
        assert trial.user_attrs["makerflow:training"] == f"digits-tuning/{number}"
        assert {name: str(value) for name, value in trial.params.items()} == point(number)
        # What is no number is in no curve: Optuna would compute with it.
        assert trial.intermediate_values == ({} if status is TrialStatus.CREATED else {1: 0.5, 2: 0.25})


@pytest.mark.req("TUN-13", "TUN-16")
def test_the_study_is_a_plain_one_that_goes_on_by_itself_and_changes_nothing_of_the_tuning(
    registry: Registry, tuning: Tuning
) -> None:
    run_trials(registry, tuning, 30)
    study = study_of(registry, "digits-tuning")
    assert type(study) is optuna.Study
    assert (study.study_name, study.metric_names, study.direction.name) == ("digits-tuning", ["val_loss"], "MINIMIZE")
    assert study.user_attrs == {"makerflow:tuning": tuning.id, "makerflow:status": "RUNNING"}
    rows = registry.tunings.trials(tuning.id)
    best = min((row for row in rows if row.status is TrialStatus.SUCCEEDED), key=lambda row: row.objective or 0)
    assert (study.best_trial.number + 1, study.best_value) == (best.number, best.objective)
    assert set(optuna.importance.get_param_importances(study)) == {"lr", "depth", "width", "kernel"}
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1e-1, log=True), n_trials=1)
    assert len(study.trials) == 31
    assert registry.tunings.trials(tuning.id) == rows


def test_times_are_those_of_the_trial_as_optuna_writes_them(registry: Registry, tuning: Tuning) -> None:
    run_trials(registry, tuning, 1)
    start_trial(registry, tuning, 2)
    [ended, running] = study_of(registry, tuning.id).trials
    [row, _] = registry.tunings.trials(tuning.id)
    assert ended.datetime_start is not None
    assert ended.datetime_complete is not None
    assert (ended.datetime_start.tzinfo, ended.datetime_start.astimezone()) == (None, row.created)
    assert ended.datetime_complete.astimezone() == row.changed
    assert running.datetime_complete is None


def test_a_tuning_that_maximizes_does_so_and_one_without_trials_is_empty(registry: Registry) -> None:
    tuning = make_tuning(registry, "up", objective_type="MAXIMIZE")
    assert study_of(registry, "up").trials == []
    run_trials(registry, tuning, 4)
    study = study_of(registry, "up")
    assert study.best_value == max(trial.value for trial in study.trials if trial.value is not None)


def test_what_is_no_tuning_has_no_study(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        study_of(registry, "nobody")


def test_a_curve_is_thinned_with_its_ends_and_extremes_and_the_last_report_of_a_step_counts(
    registry: Registry, tuning: Tuning
) -> None:
    trial = start_trial(registry, tuning, 1, {step: 1 / step for step in range(1, 3001)})
    report(registry, trial, {1500: 9.0})
    report(registry, trial, {3000: -1.0})
    [shown] = study_of(registry, tuning.id).trials
    values = shown.intermediate_values
    assert len(values) <= 1024
    assert (values[1], values[1500], values[3000]) == (1.0, 9.0, -1.0)
    with pytest.raises(InvalidInputError):
        list(registry.metrics.finite_curves(["trn-1"], "val_loss", 3))


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and how long a processor worked on it."""
    began = time.thread_time()
    return action(), time.thread_time() - began


class Counted:
    """A registry whose curves are counted as they are read."""

    def __init__(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        original = registry.metrics.finite_curves

        def finite_curves(ids: list[str], name: str, at_most: int) -> object:
            self.read += ids
            return original(ids, name, at_most)

        monkeypatch.setattr(registry.metrics, "finite_curves", finite_curves)

    def take(self) -> list[str]:
        taken, self.read = self.read, []
        return taken


def test_only_what_may_have_changed_is_read_again(
    registry: Registry, tuning: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trials(registry, tuning, 6)
    seventh = start_trial(registry, tuning, 7, {1: 0.5})
    counted, reader = Counted(registry, monkeypatch), TrialReader(registry, tuning)
    before = reader.read()
    assert len(counted.take()) == 7
    report(registry, seventh, {2: 0.25})
    after = reader.read()
    assert counted.take() == [seventh.training_id]
    assert after[6].intermediate_values == {1: 0.5, 2: 0.25}
    assert all(one is other for one, other in zip(before[:6], after[:6], strict=True))
    end_trial(registry, registry.tunings.trial(tuning.id, 7), TrialStatus.KILLED)
    assert reader.read()[6].state is TrialState.FAIL
    counted.take()
    registry.tunings.run_again(tuning, registry.tunings.trial(tuning.id, 7), "trn-again")
    [again] = [trial for trial in reader.read() if trial.state is TrialState.RUNNING]
    assert (again.number, again.intermediate_values, counted.take()) == (7, {}, ["trn-again"])


@pytest.mark.req("TUN-13")
def test_five_thousand_trials_are_read_in_seconds_and_in_bounded_memory(
    registry: Registry, database: Path, tuning: Tuning
) -> None:
    trial = start_trial(registry, tuning, 1, {step: 1 / step for step in range(1, 201)})
    end_trial(registry, trial, TrialStatus.SUCCEEDED, 0.005)
    registry.tunings.move(tuning.id, TuningStatus.COMPLETE_IN_PROGRESS)
    multiply(database, tuning, 5000)
    reader, before = TrialReader(registry, tuning), psutil.Process().memory_info().rss
    study, seconds = timed(lambda: study_of(registry, tuning.id))
    trials = study.get_trials(deepcopy=False)
    assert len(trials) == 5000
    assert 5000 * 10 < sum(len(one.intermediate_values) for one in trials) <= MOST_POINTS
    assert all(one.intermediate_values[200] == 1 / 200 for one in trials)
    reader.read()
    _, again_seconds = timed(reader.read)
    grown = psutil.Process().memory_info().rss - before
    print(f"{seconds:.2f} s, again {again_seconds:.2f} s, {grown / 2**20:.0f} MiB for two")
    assert seconds < 10  # 1.5 s where nothing else runs
    assert again_seconds < 2  # 0.1 s
    assert grown < 200 * 2**20
