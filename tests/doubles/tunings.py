"""Tunings whose trials are made through the registry, as the flow of a tuning makes them."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.domain.lifecycle import TrainingStatus, TrialStatus, TuningStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.specs import ExperimentSpec
from blocks.domain.trials import Objective
from blocks.domain.tunings import TuningSpec
from blocks.registry.database import Registry
from blocks.registry.records import Trial, Tuning
from blocks.registry.tunings import Followed, TrialMove

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PARAMETERS = ("lr=DOUBLE[1e-4,1e-1,log]", "depth=INT[1,9]", "width=DOUBLE[0,1,0.1]", "kernel=CATEGORICAL[rbf,linear]")
_S = TrainingStatus
_ENDINGS = {
    TrialStatus.SUCCEEDED: (_S.COMPLETE_IN_PROGRESS, _S.COMPLETE),
    TrialStatus.EARLY_STOPPED: (_S.STOP_IN_PROGRESS, _S.STOPPED),
    TrialStatus.KILLED: (_S.STOP_IN_PROGRESS, _S.STOPPED),
    TrialStatus.FAILED: (_S.FAIL_TRAIN_IN_PROGRESS, _S.FAIL_TRAIN),
    TrialStatus.METRICS_UNAVAILABLE: (_S.COMPLETE_IN_PROGRESS, _S.COMPLETE),
}


def make_tuning(registry: Registry, name: str, **settings: Any) -> Tuning:
    """A tuning that runs."""
    given = {
        "name": name,
        "algorithm": "s3://bucket/code",
        "entry_point": "train.py",
        "parameters": PARAMETERS,
        "objective_metric": "val_loss",
        "max_trainings": 10_000,
    }
    experiment = registry.experiments.ensure(ExperimentSpec(name="digits"))
    made = registry.tunings.create(TuningSpec(**given | settings), experiment.id)
    for status in (TuningStatus.CREATE_IN_PROGRESS, TuningStatus.RUNNING):
        made = registry.tunings.move(made.id, status)
    return made


def point(number: int) -> dict[str, str]:
    """Another point of the space for each number."""
    return {
        "lr": f"{10 ** -(1 + 3 * (number * 0.618 % 1)):.6g}",
        "depth": str(1 + number % 9),
        "width": f"0.{number % 10}",
        "kernel": ("rbf", "linear")[number % 2],
    }


def start_trial(
    registry: Registry, tuning: Tuning, number: int, values: Mapping[int, float | None] | None = None
) -> Trial:
    """A trial that runs and has reported these values of the objective, by step; None is NaN."""
    trial = registry.tunings.add_trial(tuning, number, point(number), f"trn-{tuning.id[4:]}-{number}")
    registry.tunings.follow(
        trial,
        Followed(points=reports(values or {}), started=NOW),
        TrialMove(TrialStatus.RUNNING, training=(_S.RUNNING,)),
    )
    return registry.tunings.trial(tuning.id, number)


def report(registry: Registry, trial: Trial, values: Mapping[int, float | None]) -> None:
    """Further reports."""
    registry.tunings.follow(trial, Followed(points=reports(values)))


def end_trial(
    registry: Registry, trial: Trial, status: TrialStatus, objective: float | None = None, reason: str = ""
) -> None:
    """Let a trial end so."""
    reached = None if objective is None else Objective(value=objective, step=1)
    registry.tunings.follow(trial, Followed(), TrialMove(status, reason, reached, training=_ENDINGS[status]))


def run_trials(registry: Registry, tuning: Tuning, count: int) -> None:
    """So many trials, from the first on, that have learned: of ten, one is stopped early and one fails."""
    for number in range(1, count + 1):
        end = abs(float(point(number)["lr"]) - 0.01) * 5 + int(point(number)["depth"]) / 50 + 0.05
        trial = start_trial(registry, tuning, number, {step: end + 1 / step - 0.1 for step in range(1, 11)})
        if number % 10 == 5:
            end_trial(registry, trial, TrialStatus.EARLY_STOPPED, end + 0.1, "worse than the median")
        elif number % 10 == 7:
            end_trial(registry, trial, TrialStatus.FAILED, reason="exit code 1")
        else:
            end_trial(registry, trial, TrialStatus.SUCCEEDED, end)


def reports(values: Mapping[int, float | None]) -> list[MetricPoint]:
    """What a reader of its output would give."""
    return [
        MetricPoint(name="val_loss", value=value, text=str(value), step=step, rank=0, at=NOW)
        for step, value in values.items()
    ]


def multiply(database: Path, tuning: Tuning, count: int) -> None:
    """Have the first trial of a tuning so many times, with its training and its points: by SQL, for it is fast."""
    clones = "WITH RECURSIVE n(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < :count) INSERT INTO"
    first = f"trn-{tuning.id[4:]}-"
    id, series = f"'{first}' || i", "1000000 + i"
    changed = {
        "training": ("id", {"id": id, "name": "t.name || '-' || i"}),
        "trial": ("training_id", {"number": "i", "training_id": id}),
        "metric_series": ("training_id", {"id": series, "training_id": id}),
        "metric_point": ("series_id", {"series_id": series}),
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        [[series_id]] = connection.execute("SELECT id FROM metric_series WHERE training_id = ?", [f"{first}1"])
        for table, (key, values) in changed.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            selected = ", ".join(values.get(name, f"t.{name}") for name in names)
            sql = f"{clones} {table} SELECT {selected} FROM {table} t, n WHERE t.{key} = :key"  # noqa: S608 - ours
            given = series_id if key == "series_id" else f"{first}1"
            connection.execute(sql, {"count": count, "key": given})
