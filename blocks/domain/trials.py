"""What a trial has reported of its objective, what that makes of it, and what it means for the tuning: pure rules."""

import math
from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Protocol, TypeVar

from blocks.domain.lifecycle import TRIAL_FAILED, TRIAL_FINISHED, TrialStatus
from blocks.domain.moments import minutes_text
from blocks.domain.plan import Frozen
from blocks.domain.tuning_groups import MAX_JUDGED_REPORTS
from blocks.domain.tunings import (
    EarlyStoppingSpec,
    ObjectiveSpec,
    ObjectiveType,
    ObjectiveValue,
    StoppingRule,
    TuningSpec,
)

_BINARY_PLACES = 1074
"""Every finite double is a whole multiple of 2 to the power of minus this many."""


class Report(Frozen):
    """One report of a metric; `value` is None when it was no finite number."""

    step: int
    value: float | None


@dataclass
class History:
    """A metric of one trial, report by report.

    Attributes:
        reports: How many there were, those that are no number included.
        averages: After each report, as far as early stopping looks: the mean of all finite values, or NaN.
            Exact, so that trials that report the same are equal, and none is stopped for a rounding.
        best: The best finite value so far.
        best_step: Its step; the first of several.
        last: The last report's value.
        last_step: Its step.
    """

    type: ObjectiveType
    reports: int = 0
    averages: "array[float]" = field(default_factory=lambda: array("d"))
    best: float | None = None
    best_step: int = 0
    last: float | None = None
    last_step: int = 0
    _sum: int = 0
    _finite: int = 0

    def add(self, value: float | None, step: int) -> None:
        """Take the next report; what is not finite counts as no number."""
        if value is not None and not math.isfinite(value):
            value = None
        self.reports += 1
        self.last, self.last_step = value, step
        if value is not None and (self.best is None or self.type.is_better(value, self.best)):
            self.best, self.best_step = value, step
        if self.reports <= MAX_JUDGED_REPORTS:
            self.averages.append(self._average(value))

    def recall(self, report: int, value: float | None, step: int) -> None:
        """Take the report of this number, from 1, where not all were kept: those before it count as on a straight line.

        What was best or last is exact, as such reports are kept.
        """
        ends = [one for one in (self.last, value) if one is not None and math.isfinite(one)]
        missing = report - 1 - self.reports
        for number in range(1, min(missing, MAX_JUDGED_REPORTS - self.reports) + 1):
            share = number / (missing + 1)
            self.averages.append(self._average(ends[0] * (1 - share) + ends[-1] * share if ends else None))
        self.reports = report - 1
        self.add(value, step)

    def average(self, reports: int) -> float | None:
        """The mean of the finite values among the first `reports`; None where it has fewer reports, or none finite."""
        average = self.averages[reports - 1] if 0 < reports <= len(self.averages) else math.nan
        return None if math.isnan(average) else average

    def _average(self, value: float | None) -> float:
        if value is not None:
            numerator, denominator = value.as_integer_ratio()
            self._sum += numerator * ((1 << _BINARY_PLACES) // denominator)
            self._finite += 1
        return self._sum / (self._finite << _BINARY_PLACES) if self._finite else math.nan


class MedianRule:
    """The median stopping rule.

    A trial is stopped at report s when its best value so far is strictly worse than the median of the running averages,
    up to report s, of the finished trials (Golovin et al., "Google Vizier", KDD 2017, section 3.2.2). Values that are
    not finite are in no average; a trial with fewer than s reports is in no median of report s.

    Args:
        spec: From how many finished trials, and from which report on it applies.
        type: Whether less or more is better.
    """

    def __init__(self, spec: EarlyStoppingSpec, type: ObjectiveType) -> None:
        self._spec = spec
        self._type = type
        self._finished: list[History] = []
        self._sorted: dict[int, tuple[int, array[float]]] = {}

    def add(self, finished: History) -> None:
        """Take a trial that has SUCCEEDED; those that were ended early tell nothing about later reports."""
        if self._spec.rule is StoppingRule.MEDIAN:
            self._finished.append(finished)

    def stops(self, running: History) -> str:
        """Why a running trial is to be ended now; empty when it is not."""
        reports = running.reports
        if self._spec.rule is not StoppingRule.MEDIAN or reports < self._spec.start_step or running.best is None:
            return ""
        middle = self.median(reports)
        if middle is None or not self._type.is_better(middle, running.best):
            return ""
        return (
            f"its best value up to report {reports}, {running.best:.6g}, is worse than the median of the finished "
            f"trials' running averages, {middle:.6g}"
        )

    def median(self, reports: int) -> float | None:
        """That of the finished trials' averages up to this report; None while there are too few of them."""
        if reports > MAX_JUDGED_REPORTS:
            return None
        # Each average is sorted in once: with thousands of trials, sorting them all at every report would not do.
        known, averages = self._sorted.get(reports, (0, array("d")))
        for history in self._finished[known:]:
            if (average := history.average(reports)) is not None:
                insort(averages, average)
        self._sorted[reports] = (len(self._finished), averages)
        return _median(averages) if len(averages) >= self._spec.min_trainings_required else None


def _median(ordered: Sequence[float]) -> float:
    """As `statistics.median`, but for huge values, whose sum is no double."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else mean(ordered[middle - 1 : middle + 1])


class Objective(Frozen):
    """The objective value of a trial, and the step at which it was reported."""

    value: float
    step: int


def objective_of(
    spec: ObjectiveSpec, own: History, steps: History | None, reported: Mapping[int, float]
) -> Objective | None:
    """The objective value of a trial; None when it has none.

    Args:
        spec: Which report counts.
        own: The objective metric's reports.
        steps: Those of the metric that chooses the step, for `BEST_STEP`.
        reported: Step to the objective metric's last finite value at it, for `BEST_STEP`.
    """
    if spec.value is ObjectiveValue.BEST_STEP:
        if steps is None or steps.best is None or not reported:
            return None
        at = _at_or_before(reported, steps.best_step)
        return Objective(value=reported[at], step=at)
    if spec.value is ObjectiveValue.LAST:
        return None if own.last is None else Objective(value=own.last, step=own.last_step)
    return None if own.best is None else Objective(value=own.best, step=own.best_step)


def _at_or_before(reported: Mapping[int, float], step: int) -> int:
    """The step itself, else the last one before it, else the first one: metrics need not be printed together."""
    steps = sorted(reported)
    return steps[max(bisect_right(steps, step) - 1, 0)]


class Tried(Protocol):
    """What is known of a trial by its end."""

    @property
    def number(self) -> int:
        """From 1, in the order in which trials were made."""

    @property
    def status(self) -> TrialStatus:
        """What it is."""

    @property
    def objective(self) -> float | None:
        """The objective value that it has reached."""


TriedT = TypeVar("TriedT", bound=Tried)


def has_counting_value(trial: Tried) -> bool:
    """Whether it may be the best: none that failed or was killed, whatever it has reported, nor what is not finite."""
    counts = trial.status in TRIAL_FINISHED and trial.status not in TRIAL_FAILED
    return counts and trial.objective is not None and math.isfinite(trial.objective)


def ranked(type: ObjectiveType, trials: Iterable[TriedT]) -> list[TriedT]:
    """Those that may be the best, the best first; of equal ones the earlier first."""
    sign = 1 if type is ObjectiveType.MINIMIZE else -1
    known = filter(has_counting_value, trials)
    return sorted(known, key=lambda trial: (sign * (trial.objective or 0.0), trial.number))


class Ending(Frozen):
    """That a tuning ends now, and how.

    Attributes:
        failed: Whether it has failed.
        reason: For people.
        winner: The running trial whose report reached the goal; 0 for none. It may come to its end by itself.
    """

    failed: bool
    reason: str
    winner: int = 0


class Tally(Frozen):
    """How a tuning stands: what its rules look at.

    Attributes:
        finished: Trials that have run, whatever came of them.
        failed: Those of them that count as failed.
        best: The best objective value of the trials that did not fail, that of an early-stopped one included.
        best_number: Its trial.
    """

    finished: int = 0
    failed: int = 0
    best: float | None = None
    best_number: int = 0

    def with_finished(self, type: ObjectiveType, number: int, status: TrialStatus, value: float | None) -> "Tally":
        """With one more trial that is over.

        What was killed with its tuning is neither finished nor best; a trial that failed has left no model, so that
        what it reported before is never best either, nor is what is not finite.
        """
        if status not in TRIAL_FINISHED:
            return self
        failed = status in TRIAL_FAILED
        changes: dict[str, object] = {"finished": self.finished + 1, "failed": self.failed + failed}
        usable = not failed and value is not None and math.isfinite(value)
        if value is not None and usable and (self.best is None or type.is_better(value, self.best)):
            changes |= {"best": value, "best_number": number}
        return self.model_copy(update=changes)


def tally(type: ObjectiveType, trials: Iterable[tuple[int, TrialStatus, float | None]]) -> Tally:
    """Count trials of (number, status, objective)."""
    counted = Tally()
    for number, status, value in trials:
        counted = counted.with_finished(type, number, status, value)
    return counted


def ending(
    spec: TuningSpec,
    now: Tally,
    *,
    reported: Mapping[int, float] | None = None,
    overdue: bool = False,
    exhausted: bool = False,
) -> Ending | None:
    """Whether the tuning ends now: the goal first, then failed trials, then the number of trials, then the time.

    Args:
        spec: The tuning.
        now: How it stands.
        reported: Number of each running trial that has an objective value so far, and that value.
        overdue: Whether the maximum time has passed.
        exhausted: Whether no trial runs and none can follow.
    """
    if reached := _goal_reached(spec.objective, now, reported or {}):
        return reached
    most_failed = spec.trainings.max_failed_trainings
    if most_failed is not None and now.failed >= most_failed:
        return Ending(failed=True, reason=f"{_trainings(now.failed)} failed, and max_failed_trainings is {most_failed}")
    if now.finished >= spec.max_trainings:
        return _completed(now, f"{_trainings(now.finished)} ran, which is all of them")
    if overdue:
        most = minutes_text(spec.trainings.max_tuning_minutes or 0)
        return _completed(now, f"The maximum time of {most} has passed; {_trainings(now.finished)} ran")
    return _completed(now, "Every point of the space has been tried") if exhausted else None


def _trainings(count: int) -> str:
    return f"{count} training{'s' if count != 1 else ''}"


def _goal_reached(spec: ObjectiveSpec, now: Tally, reported: Mapping[int, float]) -> Ending | None:
    goal, type = spec.goal, spec.type
    if goal is None:
        return None
    if now.best is not None and type.reaches(now.best, goal):
        return Ending(failed=False, reason=_goal_text(spec, now.best, now.best_number))
    for number, value in sorted(reported.items()):
        if type.reaches(value, goal):
            return Ending(failed=False, reason=_goal_text(spec, value, number), winner=number)
    return None


def _goal_text(spec: ObjectiveSpec, value: float, number: int) -> str:
    return f"The goal {spec.goal:g} was reached by trial {number}: {spec.metric}={value:.6g}"


def _completed(now: Tally, reason: str) -> Ending:
    if now.finished == 0:
        return Ending(failed=True, reason=reason)
    if now.failed == now.finished:
        which = f"All {now.failed} trainings" if now.failed > 1 else "The only training"
        return Ending(failed=True, reason=f"{which} failed. {reason}")
    return Ending(failed=False, reason=reason)
