import math
import statistics
import time
import tracemalloc
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.domain.lifecycle import TRIAL_FAILED, TRIAL_FINISHED, TrialStatus
from blocks.domain.trials import History, MedianRule, Tally, ending, objective_of, ranked, tally
from blocks.domain.tuning_groups import MAX_JUDGED_REPORTS
from blocks.domain.tunings import EarlyStoppingSpec, ObjectiveSpec, ObjectiveType, TuningSpec

MINIMIZE, MAXIMIZE = ObjectiveType
BASE = {
    "name": "digits-tuning",
    "algorithm": "s3://bucket/code",
    "entry_point": "train.py",
    "parameters": ["lr=DOUBLE[1e-4,1e-1,log]"],
    "objective_metric": "loss",
}
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.lists(st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 0.1, 0.3, 1.0, 2.0])), max_size=8)


class Ended(NamedTuple):
    number: int
    status: TrialStatus
    objective: float | None


def history(values, kind=MINIMIZE) -> History:
    made = History(kind)
    for step, value in enumerate(values, 1):
        made.add(value, step)
    return made


def rule(kind=MINIMIZE, finished=(), **settings) -> MedianRule:
    made = MedianRule(
        EarlyStoppingSpec(**{"rule": "MEDIAN", "min_trainings_required": 1, "start_step": 1} | settings), kind
    )
    for values in finished:
        made.add(history(values, kind))
    return made


def reference(finished, running, kind, required, start):
    """The rule in ten lines: whether the last report of a running trial ends it."""
    step = len(running)
    finite = [value for value in running if math.isfinite(value)]
    if step < start or not finite:
        return False
    means = [[value for value in values[:step] if math.isfinite(value)] for values in finished if len(values) >= step]
    averages = sorted(statistics.mean(values) for values in means if values)
    if len(averages) < required:
        return False
    middle = statistics.mean([averages[(len(averages) - 1) // 2], averages[len(averages) // 2]])
    return min(finite) > middle if kind is MINIMIZE else max(finite) < middle


@pytest.mark.req("TUN-09")
@given(
    st.sampled_from(list(ObjectiveType)),
    st.lists(st.tuples(st.booleans(), VALUES), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 5),
)
@example(MINIMIZE, [(True, [0.3] * 8), (True, [0.3] * 8), (False, [0.3] * 8)], 1, 1)
@example(MAXIMIZE, [(True, [0.1] * 8), (True, [0.1] * 8), (False, [0.1] * 8)], 1, 1)
@example(MAXIMIZE, [(True, [1.7e308] * 3), (True, [1.7e308] * 3), (False, [1.7e308] * 3)], 1, 1)
@example(MINIMIZE, [(True, [5e-324] * 3), (True, [5e-324] * 3), (False, [5e-324] * 3)], 1, 1)
def test_the_median_rule_ends_the_trials_that_a_ten_line_reference_ends(kind, trials, required, start):
    """Trials come one after the other: those that succeed are learned from, whatever the rule says of the others."""
    median, finished = rule(kind, min_trainings_required=required, start_step=start), []
    for succeeds, values in trials:
        running = History(kind)
        for step, value in enumerate(values, 1):
            running.add(value if math.isfinite(value) else None, step)
            assert bool(median.stops(running)) == reference(finished, values[:step], kind, required, start)
        if succeeds:
            median.add(running)
            finished.append(values)


@pytest.mark.req("TUN-09")
def test_a_trial_is_ended_at_the_first_report_from_the_start_step_on_at_which_it_is_worse():
    median = rule(finished=[[1, 1, 1, 1], [2, 2, 2, 2], [9, 9, 9, 9]], start_step=3, min_trainings_required=3)
    assert not median.stops(history([5, 5]))
    assert median.stops(history([5, 5, 5])) == (
        "its best value up to report 3, 5, is worse than the median of the finished trials' running averages, 2"
    )
    assert not median.stops(history([5, 5, 2]))
    assert not median.stops(history([5, 2, 5, 5]))


@pytest.mark.req("TUN-09")
def test_too_few_finished_trials_end_none_and_shorter_ones_do_not_count():
    assert not rule(finished=[[1, 1], [1, 1]], min_trainings_required=3).stops(history([5, 5]))
    assert not rule(finished=[[1, 1], [1, 1], [1]], min_trainings_required=3).stops(history([5, 5]))
    assert rule(finished=[[1, 1], [1, 1], [1]], min_trainings_required=3).stops(history([5]))
    assert not rule(finished=[[1, 1], [1, 1], [math.nan, math.nan]], min_trainings_required=3).stops(history([5, 5]))


@pytest.mark.req("TUN-09")
def test_a_trial_that_does_as_well_as_the_others_is_never_ended_for_a_rounding():
    for value in (0.1, 0.3, 1e-300, 1e300, -0.7, 5e-324, 1.7976931348623157e308):
        for kind in ObjectiveType:
            median = rule(kind, finished=[[value] * 50] * 4)
            assert not any(median.stops(history([value] * count, kind)) for count in range(1, 51))


@pytest.mark.req("TUN-09")
def test_without_the_rule_no_trial_is_ended_and_nothing_is_kept():
    off = MedianRule(EarlyStoppingSpec(), MINIMIZE)
    off.add(history([1, 1, 1]))
    assert not off.stops(history([5, 5, 5, 5]))
    assert off.median(1) is None


@pytest.mark.req("TUN-09")
def test_a_trial_that_has_printed_no_number_yet_is_not_ended():
    assert not rule(finished=[[1, 1]]).stops(history([math.nan, None]))
    assert rule(finished=[[1, 1, 1]]).stops(history([math.nan, None, 5]))


def test_thousands_of_trials_cost_the_median_no_more_than_few():
    median = rule()
    for number in range(5000):
        median.add(history([number % 7, 1, 2]))
    median.median(3)
    began = time.thread_time()
    for _ in range(100):
        median.add(history([3, 3, 3]))
        assert median.median(3) is not None
    assert time.thread_time() - began < 2


def test_a_trial_that_reports_without_end_fills_no_memory():
    long = history([1.0])
    for step in range(MAX_JUDGED_REPORTS + 10):
        long.add(2.0, step)
    assert long.reports == MAX_JUDGED_REPORTS + 11
    assert len(long.averages) == MAX_JUDGED_REPORTS
    assert long.average(MAX_JUDGED_REPORTS) is not None
    assert long.average(MAX_JUDGED_REPORTS + 1) is None


def test_a_median_of_many_reports_of_many_trials_is_small_and_ends_with_what_is_looked_at():
    median = rule(min_trainings_required=1)
    for _ in range(100):
        median.add(history([1.0] * 1000))
    tracemalloc.start()
    try:
        for report in range(1, 1001):
            assert median.median(report) == 1
        for report in range(MAX_JUDGED_REPORTS + 1, MAX_JUDGED_REPORTS + 50_000):
            assert median.median(report) is None
        assert tracemalloc.get_traced_memory()[0] < 2 * 8 * 100 * 1000
    finally:
        tracemalloc.stop()


@given(VALUES, st.sets(st.integers(0, 7)), st.sampled_from(list(ObjectiveType)))
def test_of_reports_that_were_kept_in_part_the_number_the_best_and_the_last_are_exact(values, dropped, kind):
    whole, part = history(values, kind), History(kind)
    for report, value in enumerate(values, 1):
        if report - 1 not in dropped or report == len(values) or report == whole.best_step:
            part.recall(report, value, report)
    assert (part.reports, len(part.averages)) == (whole.reports, len(whole.averages))
    assert (part.best, part.best_step, part.last) == (whole.best, whole.best_step, whole.last)


def test_what_was_not_kept_counts_in_the_averages_as_lying_on_a_line():
    part = History(MINIMIZE)
    for report, value in ((1, 9.0), (5, 5.0), (7, math.nan), (9, 1.0)):
        part.recall(report, value, report)
    assert [part.average(report) for report in (3, 5, 6, 7, 8)] == [8, 7, 40 / 6, 40 / 6, 41 / 7]


@given(VALUES, st.sampled_from(list(ObjectiveType)))
def test_a_history_is_what_its_finite_values_say(values, kind):
    made = history(values, kind)
    finite = [value for value in values if math.isfinite(value)]
    assert made.reports == len(values)
    assert made.best == ((min if kind is MINIMIZE else max)(finite) if finite else None)
    assert made.last == (values[-1] if values and math.isfinite(values[-1]) else None)
    for count in range(len(values) + 2):
        known = [value for value in values[:count] if math.isfinite(value)]
        assert made.average(count) == (statistics.mean(known) if known and 0 < count <= len(values) else None)


def objective(value: str, values, steps=None, **settings):
    spec = ObjectiveSpec(metric="loss", value=value, **settings)
    other = None if steps is None else history(steps, spec.best_step_type)
    reported = {step: one for step, one in enumerate(values, 1) if one is not None and math.isfinite(one)}
    found = objective_of(spec, history(values, spec.type), other, reported)
    return None if found is None else (found.value, found.step)


@pytest.mark.req("TUN-05", "TUN-13")
def test_the_objective_is_the_best_report_the_last_one_or_that_at_the_best_step_of_another_metric():
    values = [3.0, 1.0, 1.0, 2.0]
    assert objective("BEST", values) == (1.0, 2)
    assert objective("BEST", values, type="MAXIMIZE") == (3.0, 1)
    assert objective("LAST", values) == (2.0, 4)
    best_step = {"best_step_metric": "acc", "best_step_type": "MAXIMIZE"}
    assert objective("BEST_STEP", values, [0.1, 0.9, 0.2, 0.9], **best_step) == (1.0, 2)
    assert objective("BEST_STEP", values, [0.1, 0.2, 0.3, 0.4], **best_step) == (2.0, 4)
    assert objective("BEST_STEP", values, [0.9, 0.2], best_step_metric="acc") == (1.0, 2)


@pytest.mark.req("TUN-05", "TUN-13")
def test_metrics_that_are_not_printed_together_meet_at_the_step_before():
    spec = ObjectiveSpec(metric="loss", value="BEST_STEP", best_step_metric="acc", best_step_type="MAXIMIZE")
    other = History(MAXIMIZE)
    other.add(0.9, 7)
    for reported, expected in (({5: 1.0, 8: 2.0}, (1.0, 5)), ({8: 2.0, 9: 3.0}, (2.0, 8)), ({7: 4.0}, (4.0, 7))):
        found = objective_of(spec, History(MINIMIZE), other, reported)
        assert (found.value, found.step) == expected


@pytest.mark.req("TUN-13")
def test_a_trial_without_a_usable_report_has_no_objective():
    for nothing in ([], [math.nan], [math.inf, -math.inf], [None]):
        assert objective("BEST", nothing) is None
        assert objective("LAST", nothing) is None
        assert objective("BEST_STEP", nothing, [1.0], best_step_metric="acc") is None
    assert objective("LAST", [1.0, math.nan]) is None
    assert objective("BEST", [math.nan, 1.0, math.inf, -math.inf]) == (1.0, 2)
    assert objective("BEST", [math.nan, 1.0, math.inf], type="MAXIMIZE") == (1.0, 2)
    assert objective("BEST_STEP", [1.0], [], best_step_metric="acc") is None
    assert objective("BEST_STEP", [1.0], [math.nan], best_step_metric="acc") is None
    assert objective("BEST_STEP", [1.0], None, best_step_metric="acc") is None


STATUSES = list(TrialStatus)
TRIALS = st.lists(st.tuples(st.sampled_from(STATUSES), st.one_of(st.none(), st.floats())), max_size=12).map(
    lambda rows: [(number, *row) for number, row in enumerate(rows, 1)]
)


@pytest.mark.req("TUN-06", "TUN-07", "TUN-12")
@given(TRIALS, st.sampled_from(list(ObjectiveType)))
def test_a_tuning_stands_as_its_trials_do(trials, kind):
    now = tally(kind, trials)
    assert now.finished == sum(status in TRIAL_FINISHED for _, status, _ in trials)
    assert now.failed == sum(status in TRIAL_FAILED for _, status, _ in trials)
    usable = {
        number: value
        for number, status, value in trials
        if status in ("SUCCEEDED", "EARLY_STOPPED") and value is not None and math.isfinite(value)
    }
    best = None if not usable else (min if kind is MINIMIZE else max)(usable.values())
    assert now.best == best
    assert now.best_number == next((number for number, value in usable.items() if value == best), 0)


def test_trials_are_ranked_by_the_values_that_count_and_equal_ones_by_their_numbers():
    values = [
        (TrialStatus.SUCCEEDED, 2.0),
        (TrialStatus.FAILED, 0.0),
        (TrialStatus.EARLY_STOPPED, 1.0),
        (TrialStatus.SUCCEEDED, math.nan),
        (TrialStatus.SUCCEEDED, -math.inf),
        (TrialStatus.KILLED, 0.0),
        (TrialStatus.SUCCEEDED, 1.0),
        (TrialStatus.METRICS_UNAVAILABLE, None),
    ]
    trials = [Ended(number, status, value) for number, (status, value) in enumerate(values, 1)]
    assert [trial.number for trial in ranked(MINIMIZE, reversed(trials))] == [3, 7, 1]
    assert [trial.number for trial in ranked(MAXIMIZE, reversed(trials))] == [1, 3, 7]
    best = tally(MINIMIZE, ((trial.number, trial.status, trial.objective) for trial in trials))
    assert best.best_number == ranked(MINIMIZE, trials)[0].number


def test_what_a_failed_or_killed_trial_reported_is_never_best_but_that_of_an_early_stopped_one_may_be():
    for status in (TrialStatus.FAILED, TrialStatus.METRICS_UNAVAILABLE, TrialStatus.KILLED, TrialStatus.RUNNING):
        assert tally(MINIMIZE, [(1, TrialStatus.SUCCEEDED, 0.5), (2, status, 0.1)]).best_number == 1
    assert tally(MINIMIZE, [(1, TrialStatus.SUCCEEDED, 0.5), (2, TrialStatus.EARLY_STOPPED, 0.1)]).best_number == 2


def spec(**settings) -> TuningSpec:
    return TuningSpec.model_validate(BASE | settings)


FULL = {"goal": 0.1, "max_failed_trainings": 2, "max_trainings": 4, "max_tuning_minutes": 5}
REACHED = Tally(finished=4, failed=2, best=0.1, best_number=3)


@pytest.mark.req("TUN-05", "TUN-06", "TUN-07", "TUN-10")
def test_the_goal_comes_first_then_failed_trials_then_their_number_then_the_time():
    everything = spec(**FULL)
    goal = ending(everything, REACHED, overdue=True)
    assert (goal.failed, goal.reason, goal.winner) == (False, "The goal 0.1 was reached by trial 3: loss=0.1", 0)
    worse = REACHED.model_copy(update={"best": 0.2})
    failed = ending(everything, worse, overdue=True)
    assert (failed.failed, failed.reason) == (True, "2 trainings failed, and max_failed_trainings is 2")
    fewer = worse.model_copy(update={"failed": 1})
    many = ending(everything, fewer, overdue=True)
    assert (many.failed, many.reason) == (False, "4 trainings ran, which is all of them")
    early = fewer.model_copy(update={"finished": 3})
    late = ending(everything, early, overdue=True)
    assert (late.failed, late.reason) == (False, "The maximum time of 5 minutes has passed; 3 trainings ran")
    assert ending(everything, early) is None


@pytest.mark.req("TUN-05")
@pytest.mark.parametrize(
    ("kind", "goal", "value", "reached"),
    [
        ("MINIMIZE", 0.1, 0.1, True),
        ("MINIMIZE", 0.1, 0.10000000000000002, False),
        ("MINIMIZE", 0.1, 0.09, True),
        ("MAXIMIZE", 0.1, 0.1, True),
        ("MAXIMIZE", 0.1, 0.09999999999999999, False),
        ("MAXIMIZE", 0.1, 5, True),
        ("MINIMIZE", 0, -0.0, True),
        ("MAXIMIZE", 0, -0.0, True),
        ("MAXIMIZE", -0.0, 0, True),
        ("MINIMIZE", 0.1, math.nan, False),
        ("MAXIMIZE", 0.1, math.nan, False),
        ("MINIMIZE", 0.1, -math.inf, False),
        ("MAXIMIZE", 0.1, math.inf, False),
    ],
)
def test_a_goal_is_reached_at_once_by_a_report_of_a_running_trial_that_is_exactly_as_good(kind, goal, value, reached):
    asked = spec(objective_type=kind, goal=goal)
    found = ending(asked, Tally(), reported={5: value, 4: goal - 1 if kind == "MAXIMIZE" else goal + 1})
    assert (found is not None) == reached
    if reached:
        assert (found.failed, found.winner) == (False, 5)
    trials = [(1, TrialStatus.SUCCEEDED, value), (2, TrialStatus.RUNNING, None)]
    assert (ending(asked, tally(asked.objective.type, trials)) is not None) == reached


@pytest.mark.req("TUN-05")
def test_the_first_of_several_running_trials_that_reach_the_goal_is_the_winner():
    assert ending(spec(goal=1), Tally(), reported={9: 0.5, 4: 0.7}).winner == 4
    assert ending(spec(), Tally(), reported={9: 0.5}) is None


@pytest.mark.req("TUN-06", "TUN-07", "TUN-10")
@pytest.mark.parametrize(
    "settings", [{"max_trainings": 3}, {"max_trainings": 3, "max_failed_trainings": 3}, {"max_tuning_minutes": 1}]
)
def test_a_tuning_all_of_whose_trials_failed_has_failed_whatever_its_limits(settings):
    found = ending(spec(**settings), Tally(finished=3, failed=3), overdue="max_tuning_minutes" in settings)
    assert found.failed
    assert "3 trainings failed" in found.reason


@pytest.mark.req("TUN-10")
def test_a_tuning_that_is_out_of_time_before_a_trial_has_run_has_failed():
    found = ending(spec(max_tuning_minutes=1), Tally(), overdue=True)
    assert (found.failed, found.reason) == (True, "The maximum time of 1 minute has passed; 0 trainings ran")


@pytest.mark.req("TUN-06")
def test_trials_may_fail_without_a_limit_and_the_first_ends_it_when_the_limit_is_one():
    assert ending(spec(max_trainings=9), Tally(finished=8, failed=7)) is None
    assert not ending(spec(max_trainings=8), Tally(finished=8, failed=7)).failed
    assert ending(spec(max_failed_trainings=1), Tally(finished=1, failed=1)).failed
    assert ending(spec(max_failed_trainings=1), Tally(finished=1)) is None


@pytest.mark.req("TUN-07")
def test_a_grid_ends_with_its_last_point():
    grid = spec(strategy="GRID", parameters=["a=INT[1,3]"], max_trainings=30)
    assert ending(grid, Tally(finished=2)) is None
    assert not ending(grid, Tally(finished=3)).failed


@pytest.mark.req("TUN-06", "TUN-08")
def test_a_search_without_another_point_ends_the_tuning_by_what_its_trials_have_given():
    found = ending(spec(), Tally(finished=3, failed=2), exhausted=True)
    assert (found.failed, found.reason) == (False, "Every point of the space has been tried")
    found = ending(spec(), Tally(finished=3, failed=3), exhausted=True)
    assert (found.failed, found.reason.partition(".")[0]) == (True, "All 3 trainings failed")


@pytest.mark.req("TUN-05", "TUN-06", "TUN-07", "TUN-10")
@given(
    TRIALS, st.integers(1, 12), st.one_of(st.none(), st.integers(1, 12)), st.one_of(st.none(), FINITE), st.booleans()
)
def test_a_tuning_ends_exactly_when_one_of_its_rules_says_so(trials, most, failing, goal, overdue):
    asked = spec(max_trainings=12, max_failed_trainings=failing, goal=goal, max_tuning_minutes=1)
    asked = asked.changed(max_trainings=max(most, failing or 0))
    now = tally(asked.objective.type, trials)
    found = ending(asked, now, overdue=overdue)
    rules = [
        goal is not None and now.best is not None and now.best <= goal,
        failing is not None and now.failed >= failing,
        now.finished >= asked.max_trainings,
        overdue,
    ]
    assert (found is not None) == any(rules)
    if found:
        assert found.failed == (not rules[0] and (rules[1] or now.failed == now.finished))
