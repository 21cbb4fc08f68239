"""How a tuning's progress is shown: what is known of it, as plain lines, and when it will be over."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TextIO

from blocks.domain.lifecycle import TRIAL_FINISHED, TrialStatus
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Trial, TuningSummary
from deployments.cli.fields import duration_text, point_text, value_text
from deployments.cli.progress import PlainLines
from deployments.cli.subjects import Display
from deployments.cli.tuning_documents import trial_name

KEPT_TRIALS = 200
"""Of the finished ones: more than a terminal has lines."""


@dataclass(frozen=True)
class TuningProgress:
    """How a tuning stands.

    Attributes:
        row: The tuning.
        spec: Its settings.
        deadline: When its maximum time is over, if it has one.
        best: Its best trial, if it has one.
        changed: The trials that have changed since the last time, and perhaps some that have not.
    """

    row: TuningSummary
    spec: TuningSpec
    deadline: datetime | None
    best: Trial | None
    changed: Sequence[Trial]


class TuningDisplay(Display[TuningSummary], Protocol):
    """Where a tuning is shown."""

    def progress(self, now: TuningProgress) -> None:
        """How it stands."""


class Trials:
    """The trials that run, the last ones that have run, and how long one takes; however many there were."""

    def __init__(self) -> None:
        self.running: dict[int, Trial] = {}
        self.finished: deque[Trial] = deque(maxlen=KEPT_TRIALS)
        self._ended: set[tuple[int, int]] = set()
        self._seconds, self._timed = 0.0, 0

    def take(self, changed: Sequence[Trial]) -> list[Trial]:
        """Take note of trials; those of them that really have changed."""
        return [trial for trial in changed if self._is_new(trial)]

    def seconds_left(self, now: TuningProgress) -> float | None:
        """How long it takes to the end if the trials to come take as long as those before; None when unknown."""
        deadline = None if now.deadline is None else (now.deadline - datetime.now(UTC)).total_seconds()
        to_come = max(now.spec.max_trainings - now.row.completed - now.row.failed, 0)
        if self._timed == 0 or to_come == 0:
            return deadline
        mean = self._seconds / self._timed
        done = sum(min(trial.training_seconds, mean) for trial in self.running.values())
        at_once = min(now.spec.trainings.parallel_trainings, to_come)
        expected = max(mean * to_come - done, 0) / at_once
        return expected if deadline is None else max(min(expected, deadline), 0)

    def _is_new(self, trial: Trial) -> bool:
        run = (trial.number, trial.runs)
        if run in self._ended:
            return False
        if trial.status in (TrialStatus.CREATED, TrialStatus.RUNNING):
            known = self.running.get(trial.number)
            self.running[trial.number] = trial
            return known is None or known.status is not trial.status
        self._ended.add(run)
        self.running.pop(trial.number, None)
        self.finished.append(trial)
        if trial.status in TRIAL_FINISHED and trial.started:
            self._seconds += trial.training_seconds
            self._timed += 1
        return True


class PlainTuningDisplay(PlainLines):
    """A tuning as plain lines: one for each trial that begins, and one when it has ended."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._trials = Trials()
        self._since = datetime.now(UTC)
        self._best: float | None = None

    def progress(self, now: TuningProgress) -> None:
        """Print what has become of trials, in its order; not of those that had ended before."""
        for trial in sorted(self._trials.take(now.changed), key=lambda trial: trial.changed):
            is_best = self._is_best(trial, now.spec)
            if trial.changed >= self._since and trial.status is not TrialStatus.CREATED:
                self._print(f"[makerflow] {trial_line(trial, now, is_best=is_best)}")

    def _is_best(self, trial: Trial, spec: TuningSpec) -> bool:
        """Whether it is better than all before; two may have ended since the last look."""
        value = trial.objective if trial.status in TRIAL_FINISHED else None
        if value is None or not (self._best is None or spec.objective.type.is_better(value, self._best)):
            return False
        self._best = value
        return True


def trial_line(trial: Trial, now: TuningProgress, *, is_best: bool) -> str:
    """One line for a trial."""
    name = f"{trial_name(now.row.name, trial.number)} {trial.status.value}"
    if trial.status is TrialStatus.RUNNING:
        return f"{name} {point_text(trial.parameters)}"
    reached = "" if trial.objective is None else f" {now.spec.objective.metric}={value_text(trial.objective)}"
    best = " (best so far)" if is_best else ""
    why = "" if trial.status is TrialStatus.SUCCEEDED else f": {(trial.reason.splitlines() or [''])[0]}"
    taken = f" in {duration_text(trial.training_seconds)}" if trial.started else ""
    return f"{name}{reached}{best} {point_text(trial.parameters)}{taken}{why}".removesuffix(": ")


def best_line(now: TuningProgress) -> str:
    """The best trial so far; empty when there is none."""
    if now.best is None:
        return ""
    value = f"{now.spec.objective.metric}={value_text(now.best.objective)}"
    return f"best {value} ({trial_name(now.row.name, now.best.number)}): {point_text(now.best.parameters)}"
