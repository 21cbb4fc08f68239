"""What Katib's users complain of, as promises: each test would fail on what Katib documents, or does.

Each says where it is from: an issue of kubeflow/katib, what its source says (`Read`), or what it did when it was tried
(`Run`). What only a running tuning can answer (trials that go on after the goal, no way to go on after a failure, ...)
is proven beside the flows.
"""

import json
import math
import time
from datetime import UTC, datetime

import optuna
import pytest
from pydantic import TypeAdapter

from blocks.domain.lifecycle import TUNING, TUNING_ENDINGS, TrialStatus, TuningStatus
from blocks.domain.metrics import MetricReader
from blocks.domain.parameters import Parameters, ParameterSpec, grid_size
from blocks.domain.trials import History, MedianRule, Tally, ending, objective_of, tally
from blocks.domain.tunings import EarlyStoppingSpec, ObjectiveSpec, ObjectiveType, Sampler, Strategy, TuningSpec
from blocks.search.base import PastTrial
from blocks.search.sampling import SampledSearch
from tests.doubles.studies import study_with

MINIMIZE = ObjectiveType.MINIMIZE
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE = {
    "name": "digits-tuning",
    "algorithm": "s3://bucket/code",
    "entry_point": "train.py",
    "parameters": ["lr=DOUBLE[1e-4,1e-1,log]"],
    "objective_metric": "loss",
}


def spec(**settings) -> TuningSpec:
    return TuningSpec.model_validate(BASE | settings)


def space(*texts: str) -> tuple[ParameterSpec, ...]:
    return TypeAdapter(Parameters).validate_python(list(texts))


def history(*values: float) -> History:
    made = History(MINIMIZE)
    for step, value in enumerate(values, 1):
        made.add(value, step)
    return made


def median_rule(*finished: History, start_step: int = 4) -> MedianRule:
    made = MedianRule(EarlyStoppingSpec(rule="MEDIAN", min_trainings_required=3, start_step=start_step), MINIMIZE)
    for one in finished:
        made.add(one)
    return made


def values(output: str, *expressions: str) -> dict[str, float | None]:
    return {point.name: point.value for point in MetricReader(expressions).read(output.encode(), NOW)}


def points(text: str) -> list[str]:
    return list(space(text)[0].points())


@pytest.mark.req("TUN-09")
def test_katib_medianstop_is_a_mean_so_that_one_outlier_switches_it_off():
    """Read: `sum(averages)/len(averages)`: with averages 1, 1 and 100 it lets a trial at 30 go on."""
    median = median_rule(history(1, 1, 1, 1), history(1, 1, 1, 1), history(100, 100, 100, 100))
    assert median.median(4) == 1
    assert median.stops(history(30, 30, 30, 30))


@pytest.mark.req("TUN-09")
def test_katib_medianstop_freezes_its_rule_when_a_trial_starts_so_that_a_first_wave_is_never_ended():
    """Read: attached when the trial is created, never refreshed."""
    median, running = median_rule(), history(9, 9, 9, 9)
    assert not median.stops(running)
    for _ in range(3):
        median.add(history(1, 1, 1, 1, 1))
    running.add(9, 5)
    assert median.stops(running)


@pytest.mark.req("TUN-09")
def test_katib_medianstop_looks_once_so_that_who_passes_report_four_can_never_be_ended():
    """Read: the counter goes on to -1, -2, ..."""
    median = median_rule(*[history(5, 4, 3, 2, 1, 0.5, 0.1, 0.1)] * 3)
    running = history(3, 3, 3, 3)
    assert not median.stops(running)
    for step in range(5, 9):
        running.add(3, step)
    assert median.median(8) < 3
    assert median.stops(running)


@pytest.mark.req("TUN-09")
def test_katib_collector_dies_of_a_value_that_is_no_number_and_one_nan_stops_all_of_ray_s_trials():
    """katib#1418, ray#24809."""
    median = median_rule(*[history(1, math.nan, 1, 1)] * 3)
    assert median.median(4) == 1
    assert not median.stops(history(1, math.nan, math.nan, math.nan))
    assert median.stops(history(2, math.nan, math.nan, math.nan))


@pytest.mark.req("TUN-05", "TUN-13")
def test_katib_makes_a_trial_that_only_printed_nan_its_best_one():
    """Read: what cannot be parsed is "latest", and so succeeded and best; first in the list it stays best for ever."""
    assert values("loss=nan") == {"loss": None}
    assert objective_of(ObjectiveSpec(metric="loss"), history(math.nan), None, {}) is None
    trials = [(1, TrialStatus.METRICS_UNAVAILABLE, math.nan), (2, TrialStatus.SUCCEEDED, 0.5)]
    assert tally(MINIMIZE, trials).best_number == 2
    assert tally(MINIMIZE, [(1, TrialStatus.SUCCEEDED, math.nan), *trials[1:]]).best_number == 2


@pytest.mark.req("TUN-05")
def test_katib_declares_a_goal_reached_by_a_trial_without_a_value():
    """Run: values "", 0.5, 0.2 and the goal 0.01: `bestTrialValue` stays 0.0, and so the goal is reached."""
    trials = [
        (1, TrialStatus.METRICS_UNAVAILABLE, None),
        (2, TrialStatus.SUCCEEDED, 0.5),
        (3, TrialStatus.SUCCEEDED, 0.2),
    ]
    now = tally(MINIMIZE, trials)
    assert (now.best, now.best_number) == (0.2, 3)
    assert ending(spec(goal=0.01), now, reported={4: math.nan}) is None
    assert ending(spec(goal=0.01), now, reported={4: -math.inf}) is None


@pytest.mark.req("TUN-04")
def test_katib_filter_takes_an_empty_value_and_does_not_find_what_frameworks_print():
    """katib#1033, #1082, #2175, #2554, #1795: "metrics unavailable" though the log shows them."""
    assert values("loss= loss==") == {}
    assert values("loss: 0.3") == {"loss": 0.3}
    assert values("loss=tensor(0.3)") == {"loss": 0.3}
    assert values("loss=[0.3]") == {"loss": 0.3}
    assert values("loss=1,234.5") == {"loss": 1234.5}
    assert values("loss=1_000") == {"loss": 1000}
    assert values("loss=-inf") == {"loss": None}


@pytest.mark.req("TUN-04")
def test_katib_loses_what_stands_before_the_slash_so_that_training_and_validation_become_one():
    """Run: `train/loss=0.3` becomes `loss`."""
    assert values("train/loss=0.3 val/loss=0.4") == {"train/loss": 0.3, "val/loss": 0.4}


@pytest.mark.req("TUN-04")
def test_katib_breaks_an_expression_with_a_semicolon_and_drops_the_error_of_one_that_is_none():
    """Read: filters travel joined by `;`; `reg, _ :=`."""
    expressions = (r"(loss);(\d+\.\d+)", r"(acc)=>(\d+\.\d+)")
    assert values("loss;0.25 acc=>0.5", *spec(metric_expressions=expressions).metrics.expressions) == {
        "loss": 0.25,
        "acc": 0.5,
    }
    with pytest.raises(ValueError, match="RE2 says"):
        spec(metric_expressions=[r"(loss)=(\d+"])


@pytest.mark.req("TUN-04")
def test_katib_ignores_json_numbers_and_gives_up_at_one_line_that_is_no_json():
    """Read: values must be JSON strings; one bad line aborts the collection."""
    lines = [json.dumps({"loss": 0.5}), "Downloading {...", json.dumps({"loss": "0.25"})]
    reports = MetricReader().read("\n".join(lines).encode(), NOW)
    assert [(point.value, point.step) for point in reports] == [(0.5, 1), (0.25, 2)]


@pytest.mark.req("TUN-04", "TUN-09")
def test_katib_has_no_order_without_timestamps():
    """Read: `ORDER BY time` alone, and the time is 0001-01-01 where no line begins with one."""
    made = History(MINIMIZE)
    for point in MetricReader().read(b"loss=3\nloss=1\nloss=2\n", NOW):
        made.add(point.value, point.step)
    assert (made.last, made.last_step, made.best_step) == (2, 3, 2)


@pytest.mark.req("TUN-02", "TUN-08")
def test_katib_grids_lose_their_last_point_and_overshoot_their_end():
    """Run: of 7,560 decimal grids 35% lose the end and 492 overshoot."""
    assert points("x=DOUBLE[0.1,0.7,step=0.2]") == ["0.1", "0.3", "0.5", "0.7"]
    assert len(points("x=DOUBLE[0.001,0.01,step=0.001]")) == 10
    assert points("x=DOUBLE[0.1,0.3,step=0.1]") == ["0.1", "0.2", "0.3"]


@pytest.mark.req("TUN-02", "TUN-08")
def test_katib_has_no_logarithmic_grid():
    """katib#224."""
    assert points("x=DOUBLE[1e-4,1e-1,log,step=10]") == ["0.0001", "0.001", "0.01", "0.1"]


@pytest.mark.req("TUN-02", "TUN-08")
def test_katib_forces_log_uniform_on_every_double_so_that_ranges_below_zero_break():
    """katib#1037, #1430."""
    for sampler in Sampler:
        strategy = Strategy.BAYESIAN_OPTIMIZATION
        search = SampledSearch(space("x=DOUBLE[-1,1]", "n=INT[1,1000,log]"), strategy, sampler, MINIMIZE, 1)
        drawn = [search.suggest(number) for number in range(1, 101)]
        assert 30 < sum(float(point["x"]) < 0 for point in drawn) < 70
        assert 30 < sum(int(point["n"]) < 32 for point in drawn) < 70


@pytest.mark.req("TUN-02", "TUN-08")
def test_katib_ignores_the_step_of_a_logarithmic_range_and_raises_its_lower_end():
    """Read: logUniform ignores step and clamps min to 1 (INT) or 1e-10 (DOUBLE)."""
    one = space("x=DOUBLE[1e-14,1e-2,log,step=10]")
    search = SampledSearch(one, Strategy.RANDOM, Sampler.TPE, MINIMIZE, 1)
    drawn = {search.suggest(number)["x"] for number in range(1, 14)}
    assert drawn == set(one[0].points())
    assert "0.00000000000001" in drawn


@pytest.mark.req("TUN-06")
def test_katib_takes_no_failed_trials_for_one():
    """Read: `failed != 0 and failed >= maxFailedTrialCount`: 0 and 1 both mean the first failure."""
    with pytest.raises(ValueError, match="leave it out for no limit, 1 for the first failure"):
        spec(max_failed_trainings=0)
    assert ending(spec(), Tally(finished=5, failed=4)) is None


@pytest.mark.req("TUN-06", "TUN-07")
def test_katib_calls_it_a_success_when_every_trial_failed():
    """Read: when maxFailed is unset."""
    found = ending(spec(max_trainings=5), Tally(finished=5, failed=5))
    assert (found.failed, found.reason.partition(".")[0]) == (True, "All 5 trainings failed")


@pytest.mark.req("TUN-07", "TUN-13")
def test_katib_starts_more_trials_than_asked_for_when_some_have_no_metrics():
    """Read: the creation path leaves MetricsUnavailable out of its count."""
    now = tally(MINIMIZE, [(number, TrialStatus.METRICS_UNAVAILABLE, None) for number in range(1, 4)])
    assert (now.finished, now.failed) == (3, 3)
    assert ending(spec(max_trainings=3), now) is not None


@pytest.mark.req("TUN-08", "TUN-13")
def test_katib_never_tells_optuna_of_failed_trials_so_that_they_run_for_ever():
    """Read: they stay RUNNING, and with the constant liar go on counting as bad points."""
    past = [
        PastTrial(number, {"x": f"0.{number}"}, status)
        for number, status in enumerate((TrialStatus.FAILED, TrialStatus.METRICS_UNAVAILABLE, TrialStatus.KILLED), 1)
    ]
    study = study_with(MINIMIZE, space("x=DOUBLE[0,1]"), past)
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.FAIL] * 3


@pytest.mark.req("TUN-08", "TUN-09")
def test_katib_suggests_again_what_was_stopped_early():
    """katib#2002."""
    one = space("x=CATEGORICAL[a,b,c,d]")
    for strategy in (Strategy.RANDOM, Strategy.BAYESIAN_OPTIMIZATION):
        search = SampledSearch(one, strategy, Sampler.TPE, MINIMIZE, 1)
        drawn = []
        for number in range(1, 5):
            point = search.suggest(number)
            drawn.append(point["x"])
            search.tell(PastTrial(number, point, TrialStatus.EARLY_STOPPED, 1.0, {1: 1.0}))
        assert sorted(drawn) == list("abcd")


@pytest.mark.req("TUN-08", "TUN-17")
def test_katib_suggestions_forget_all_when_their_service_starts_again():
    """Read: "An unknown trial has been passed in the GetSuggestion request"."""
    one = space("x=DOUBLE[0,1]", "y=DOUBLE[0,1]")

    def made() -> SampledSearch:
        return SampledSearch(one, Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, MINIMIZE, 1)

    first, past = made(), []
    for number in range(1, 15):
        point = first.suggest(number)
        past.append(PastTrial(number, point, TrialStatus.SUCCEEDED, float(point["x"])))
        first.tell(past[-1])
    again = made()
    for trial in past:
        again.tell(trial)
    assert again.suggest(15) == first.suggest(15)
    assert again.suggest(16) == first.suggest(16)


@pytest.mark.req("TUN-08")
def test_katib_suggestions_take_more_than_their_sixty_seconds_near_a_hundred_trials():
    """katib#1058, open since 2020."""
    search = SampledSearch(space("x=DOUBLE[0,1]"), Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, MINIMIZE, 1)
    for number in range(1, 301):
        search.tell(PastTrial(number, {"x": str(number / 1000)}, TrialStatus.SUCCEEDED, abs(number - 77.0)))
    search.suggest(301)
    began = time.thread_time()
    search.suggest(302)
    assert time.thread_time() - began < 10


@pytest.mark.req("TUN-08")
def test_katib_can_not_learn_from_known_results():
    """katib#1067, #891."""
    search = SampledSearch(space("x=DOUBLE[0,1]"), Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, MINIMIZE, 1)
    for number in range(1, 31):
        search.tell(PastTrial(0, {"x": str(number / 31)}, TrialStatus.SUCCEEDED, abs(number / 31 - 0.8)))
    assert sum(0.7 < float(search.suggest(number)["x"]) < 0.9 for number in range(1, 6)) >= 3


@pytest.mark.req("TUN-17")
def test_katib_goes_on_only_after_the_maximum_of_trials_never_after_a_failure_a_goal_or_a_stop():
    """katib#934."""
    for status in TUNING_ENDINGS:
        assert TUNING.allows(status, TuningStatus.CREATE_IN_PROGRESS)


@pytest.mark.req("TUN-02")
def test_katib_refuses_a_grid_the_wrong_way_round_and_counts_it_only_when_it_runs():
    """Read: more trials than points are refused, fewer cut the grid off silently; here the numbers are told at once."""
    grid = {"strategy": "GRID", "parameters": ["a=INT[1,10]", "b=DOUBLE[0.1,0.7,0.2]"]}
    assert grid_size(spec(**grid).search.parameters) == spec(**grid, max_trainings=100).max_trainings == 40
    with pytest.raises(ValueError, match=r"the grid has 40 points, and max_trainings is 39"):
        spec(**grid, max_trainings=39)
