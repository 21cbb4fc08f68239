import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.domain.algorithms import ALGORITHMS
from blocks.domain.catalogues import Catalogue
from blocks.domain.errors import InvalidInputError
from blocks.domain.metrics import MetricReader
from blocks.domain.parameters import ParameterSpec
from blocks.domain.specs import TrainingSpec
from blocks.domain.tunings import (
    DEFAULT_TRAININGS,
    MAX_TRAININGS,
    EarlyStoppingSpec,
    ObjectiveType,
    ObjectiveValue,
    Sampler,
    StoppingRule,
    Strategy,
    TuningSpec,
)

BASE = {
    "name": "digits-tuning",
    "algorithm": "s3://bucket/code",
    "entry_point": "train.py",
    "parameters": ["lr=DOUBLE[1e-4,1e-1,log]"],
    "objective_metric": "val_loss",
}
PROVIDED = {
    "name": "digits-tuning",
    "provided": "tabular",
    "hyperparameters": {"target": "y"},
    "parameters": ["learning_rate=DOUBLE[0.01,1,log]"],
    "objective_metric": "val_loss",
}
GRID = {"strategy": "GRID", "parameters": ["a=INT[1,10]", "b=DOUBLE[0.1,0.7,0.2]"]}
CATALOGUE = Catalogue(algorithms=ALGORITHMS)


def spec(**settings) -> TuningSpec:
    return TuningSpec.model_validate(BASE | settings)


def refusal(**settings) -> str:
    with pytest.raises(ValidationError) as refused:
        spec(**settings)
    return str(refused.value)


@pytest.mark.req("TUN-01", "TUN-05", "TUN-07", "TUN-08")
def test_settings_may_be_flat_or_in_their_groups_and_are_the_same():
    flat = spec(
        strategy="RANDOM",
        sampler="INDEPENDENT_TPE",
        random_state=42,
        warm_start="coarse",
        objective_type="MAXIMIZE",
        goal=0.99,
        objective_value="BEST_STEP",
        best_step_metric=" epoch_loss ",
        best_step_type="MINIMIZE",
        metrics=["val_loss", "epoch_loss"],
        metric_expressions=[r"(\w+)=(\d+)"],
        max_trainings=30,
        max_failed_trainings=3,
        parallel_trainings=2,
        max_tuning_time_seconds=90,
        keep=3,
        early_stopping={"start_step": 2},
        workers=2,
    )
    grouped = TuningSpec.model_validate(
        {
            "name": "digits-tuning",
            "algorithm": {"path": "s3://bucket/code", "entry_point": "train.py"},
            "instances": {"workers": 2},
            "search": {
                "parameters": {"lr": {"min": "1e-4", "max": "1e-1", "log": True}},
                "strategy": "RANDOM",
                "sampler": "INDEPENDENT_TPE",
                "random_state": 42,
                "warm_start": "coarse",
            },
            "objective": {
                "metric": "val_loss",
                "type": "MAXIMIZE",
                "goal": 0.99,
                "value": "BEST_STEP",
                "best_step_metric": "epoch_loss",
                "best_step_type": "MINIMIZE",
            },
            "metrics": {"names": ["val_loss", "epoch_loss"], "expressions": [r"(\w+)=(\d+)"]},
            "trainings": {
                "max_trainings": 30,
                "max_failed_trainings": 3,
                "parallel_trainings": 2,
                "max_tuning_minutes": 1.5,
                "keep": "best 3",
            },
            "early_stopping": {"rule": "MEDIAN", "start_step": 2},
        }
    )
    assert flat == grouped
    assert TuningSpec.model_validate_json(flat.model_dump_json()) == flat
    assert TuningSpec.model_validate(flat.model_dump(mode="json")) == flat


@pytest.mark.req("TUN-07", "TUN-08")
def test_what_is_left_out_is_bayesian_without_limits_but_ten_trainings():
    plain = spec()
    assert (plain.search.strategy, plain.search.sampler) == (Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE)
    assert plain.max_trainings == DEFAULT_TRAININGS == 10
    assert (plain.trainings.max_failed_trainings, plain.trainings.max_tuning_minutes) == (None, None)
    assert (plain.objective.type, plain.objective.value) == (ObjectiveType.MINIMIZE, ObjectiveValue.BEST)
    assert plain.early_stopping.rule is StoppingRule.NONE
    assert plain.trainings.kept is None
    assert plain.grid_points == 0


@pytest.mark.req("TUN-02", "TUN-07")
def test_a_grid_has_as_many_trainings_as_points_and_is_refused_when_it_may_not():
    assert spec(**GRID).max_trainings == spec(**GRID).grid_points == 40
    assert spec(**GRID, max_trainings=40).max_trainings == 40
    assert spec(**GRID, max_trainings=90).max_trainings == 40
    said = refusal(**GRID, max_trainings=39)
    assert "the grid has 40 points, and max_trainings is 39: raise it to 40" in said


@pytest.mark.req("TUN-02", "TUN-07")
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (["a=INT[1,1000]", "b=INT[1,1000]"], "the grid has 1,000,000 points"),
        (["a=INT[1,1e15]", "b=INT[1,1e15]"], "the grid has about 10^30 points"),
        ([f"p{n}=INT[1,1e15]" for n in range(100)], "the grid has about 10^1500 points"),
    ],
)
def test_a_grid_that_no_tuning_could_run_is_refused_at_once_with_both_numbers(parameters, said):
    for wanted, limit in ((None, "at most 100,000 trainings are allowed"), (50, "(max_trainings is 50)")):
        refused = refusal(strategy="GRID", parameters=parameters, max_trainings=wanted)
        assert said in refused
        assert limit in refused
    assert spec(strategy="GRID", parameters=[f"a=INT[1,{MAX_TRAININGS}]"]).max_trainings == MAX_TRAININGS


@pytest.mark.req("TUN-02")
def test_a_grid_over_a_range_without_a_step_is_refused():
    assert "The parameter 'lr' has no step: a GRID needs one. Give a step, e.g. 10" in refusal(strategy="GRID")


@pytest.mark.req("TUN-01")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": "a/b"}, "pattern"),
        ({"parameters": []}, "at least 1 item"),
        ({"parameters": None}, "valid tuple"),
        ({"parameters": ["lr=DOUBLE[1,0]"]}, "max 0 is below min 1"),
        ({"parameters": ["lr=DOUBLE[0,1]", "LR=DOUBLE[0,1]"]}, "'lr' and 'LR' would be the same EM_HP_LR"),
        ({"hyperparameters": {"lr": 1}}, "'lr' is both a hyperparameter with one value and a parameter with a range"),
        ({"hyperparameters": {"LR": 1}}, "'LR' and 'lr' would be the same EM_HP_LR"),
        ({"hyperparameters": {f"p{n}": 1 for n in range(100)}}, "those with a range included, and there are 101"),
        (
            {"parameters": [{"name": f"p{n}", "type": "CATEGORICAL", "values": ["x", "y" * 4096]} for n in range(30)]},
            "at most 100,000 are allowed",
        ),
        ({"objective_metric": ""}, "at least 1 character"),
        ({"objective_metric": "  "}, "at least 1 character"),
        ({"metrics": ["loss", "acc"]}, "the objective 'val_loss' is not among the metrics: loss, acc"),
        (
            {"metrics": "val_loss", "objective_value": "BEST_STEP", "best_step_metric": "acc"},
            "the objective 'acc' is not among the metrics: val_loss",
        ),
        ({"metrics": ["val_loss"], "metric_names": ["val_loss"]}, "given twice"),
        ({"metrics": ["m"] * 101}, "at most 100 items"),
        ({"objective_value": "BEST_STEP"}, "belong together"),
        ({"best_step_metric": "acc"}, "belong together"),
        ({"objective_value": "MEAN"}, "'BEST', 'LAST' or 'BEST_STEP'"),
        ({"objective_type": "LESS"}, "'MINIMIZE' or 'MAXIMIZE'"),
        ({"goal": math.nan}, "finite number"),
        ({"goal": math.inf}, "finite number"),
        ({"goal": "-inf"}, "finite number"),
        ({"strategy": "HYPERBAND"}, "'BAYESIAN_OPTIMIZATION', 'RANDOM' or 'GRID'"),
        ({"random_state": -1}, "greater than or equal to 0"),
        ({"random_state": 2**32}, "less than 4294967296"),
        ({"random_state": math.nan}, "finite number"),
        ({"random_state": 0.5}, "valid integer"),
        ({"max_trainings": 0}, "greater than or equal to 1"),
        ({"max_trainings": -1}, "greater than or equal to 1"),
        ({"max_trainings": MAX_TRAININGS + 1}, "less than or equal to 100000"),
        ({"max_trainings": 10**5000}, "max_trainings"),
        ({"max_trainings": math.nan}, "finite number"),
        ({"max_trainings": math.inf}, "finite number"),
        ({"max_failed_trainings": 0}, "leave it out for no limit, 1 for the first failure"),
        ({"max_failed_trainings": "0"}, "greater than or equal to 1"),
        ({"max_failed_trainings": -1}, "greater than or equal to 1"),
        ({"max_failed_trainings": 11}, "max_failed_trainings 11 is above max_trainings 10"),
        ({"max_failed_trainings": math.nan}, "finite number"),
        ({"parallel_trainings": 0}, "greater than or equal to 1"),
        ({"parallel_trainings": 65, "max_trainings": 100}, "less than or equal to 64"),
        ({"parallel_trainings": 11}, "parallel_trainings 11 is above max_trainings 10"),
        ({"parallel_trainings": 4, "max_trainings": 3}, "parallel_trainings 4 is above max_trainings 3"),
        (
            GRID | {"parameters": ["a=INT[1,2]"], "parallel_trainings": 3},
            "parallel_trainings 3 is above max_trainings 2",
        ),
        ({"max_tuning_minutes": 0}, "greater than 0"),
        ({"max_tuning_minutes": math.nan}, "finite number"),
        ({"max_tuning_minutes": math.inf}, "finite number"),
        ({"max_tuning_time_seconds": math.nan}, "finite number"),
        ({"max_tuning_time_seconds": "soon"}, "valid number"),
        ({"max_tuning_time_seconds": 60, "max_tuning_minutes": 1}, "given twice"),
        ({"max_tuning_time_seconds": 60, "trainings": {"max_tuning_minutes": 1}}, "given twice"),
        ({"max_trainings": 3, "trainings": {"max_trainings": 3}}, "given twice"),
        ({"keep": "best 0"}, "it is all, none, or best N"),
        ({"keep": "best"}, "it is all, none, or best N"),
        ({"keep": "best -2"}, "it is all, none, or best N"),
        ({"keep": -1}, "it is all, none, or best N"),
        ({"keep": True}, "it is all, none, or best N"),
        ({"keep": None}, "it is all, none, or best N"),
        ({"early_stopping": "MEAN"}, "'NONE' or 'MEDIAN'"),
        ({"early_stopping": {"start_step": 0}}, "greater than or equal to 1"),
        ({"early_stopping": {"min_trainings_required": 0}}, "greater than or equal to 1"),
        ({"early_stopping": {"min_trials_required": 3}}, "did you mean 'min_trainings_required'"),
        ({"max_trianings": 3}, "did you mean 'max_trainings'"),
        ({"output": "s3://bucket/" + "x/" * 505 + "x"}, "longer than 1024 bytes"),
        ({"metric_expressions": ["(?=a)(b)(c)"]}, "RE2 says"),
        ({"metric_expressions": [r"(\w+)=(\d+"]}, "RE2 says"),
        ({"metric_expressions": [r"\w+=\d+"]}, "its groups do not say"),
        ({"metric_expressions": [r"(a)(b)\1"]}, "no back-references"),
        ({"metric_expressions": ["(((a{0,100}){0,100}){0,100})(b)"]}, "RE2 says"),
        ({"metric_expressions": ["(" + "a?" * 3_000_000 + ")(b)"]}, "RE2 says"),
        ({"metric_expressions": ["(a)(b)"] * 21}, "at most 20 items"),
    ],
)
def test_a_setting_that_no_tuning_could_run_with_is_refused_and_told_why(settings, why):
    assert why in refusal(**settings)


@pytest.mark.req("TUN-04")
def test_an_expression_that_would_be_exponential_elsewhere_is_read_in_no_time():
    expressions = spec(metric_expressions=[r"((?:a+)+)=(\d+)$"]).metrics.expressions
    output = b"a" * 100_000 + b"=!\naa=1\n"  # an engine that tries again would never end
    assert [point.name for point in MetricReader(expressions).read(output, datetime.now(UTC))] == ["aa"]


@pytest.mark.req("TUN-02", "TUN-07")
def test_no_trainings_is_told_from_no_limit():
    assert spec(max_failed_trainings=None).trainings.max_failed_trainings is None
    assert spec(max_failed_trainings=1).trainings.max_failed_trainings == 1
    assert spec(max_trainings=None).max_trainings == 10


@pytest.mark.parametrize(
    ("given", "keep", "kept"),
    [
        ("all", "all", None),
        ("none", "none", 1),
        ("NONE", "none", 1),
        ("best 3", "best 3", 3),
        ("Best: 3", "best 3", 3),
        ("best=3", "best 3", 3),
        (5, "best 5", 5),
    ],
)
def test_which_outputs_stay_may_be_written_in_some_ways(given, keep, kept):
    assert spec(keep=given).trainings.keep == keep
    assert spec(keep=given).trainings.kept == kept


@pytest.mark.req("TUN-09")
@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (True, "MEDIAN"),
        (False, "NONE"),
        ("median", "MEDIAN"),
        ("none", "NONE"),
        ({}, "NONE"),
        ({"start_step": 7}, "MEDIAN"),
        ({"rule": "NONE", "start_step": 7}, "NONE"),
        (EarlyStoppingSpec(start_step=7), "MEDIAN"),
        (EarlyStoppingSpec(), "NONE"),
    ],
)
def test_early_stopping_is_on_when_something_of_it_is_asked_for(given, rule):
    assert spec(early_stopping=given).early_stopping.rule == rule


def test_a_copy_changes_single_settings_and_single_parameters():
    first = spec(parameters=["lr=DOUBLE[0,1]", "n=INT[1,9]"], max_trainings=5, goal=0.1)
    second = first.changed(parameters=["n=INT[1,3]"], max_trainings=7, name="second")
    assert [p.name for p in second.search.parameters] == ["lr", "n"]
    assert second.search.parameters[1].max == "3"
    assert (second.max_trainings, second.objective.goal, second.name) == (7, 0.1, "second")
    third = second.changed(unset=["goal", "parameters.lr"])
    assert third.objective.goal is None
    assert [p.name for p in third.search.parameters] == ["n"]
    with pytest.raises(ValidationError, match="at least 1 item"):
        third.changed(unset=["parameters.n"])


@pytest.mark.req("TUN-13")
def test_a_trial_is_a_training_at_its_point_with_outputs_of_its_own():
    tuning = spec(
        hyperparameters={"epochs": 3},
        output="s3://bucket/out",
        checkpoint_output="nas://nas1:/",
        datasets={"train": "s3://bucket/train"},
        workers=2,
        metric_expressions=[r"(\w+)=(\d+)"],
        max_minutes=5,
    )
    trial = tuning.training_spec({"lr": "0.01"}, 17)
    assert [(pair.name, pair.value) for pair in trial.algorithm.hyperparameters] == [("epochs", "3"), ("lr", "0.01")]
    assert trial.outputs.path == "s3://bucket/out/digits-tuning/17"
    assert trial.outputs.checkpoint == "nas://nas1:/digits-tuning/17"
    assert (trial.instances, trial.inputs, trial.limits) == (tuning.instances, tuning.inputs, tuning.limits)
    assert trial.metrics.expressions == tuning.metrics.expressions
    assert TrainingSpec.model_validate_json(trial.model_dump_json()) == trial
    assert spec(output="file:///").training_spec({"lr": "0.01"}, 2).outputs.path == "file:///digits-tuning/2"
    assert spec().training_spec({"lr": "0.01"}, 1).outputs.path == ""


@given(st.integers(1, 9), st.sampled_from(["INT[1,9]", "DOUBLE[0,1]", "DISCRETE[3,4]", "CATEGORICAL[a,b]"]))
def test_the_example_point_of_every_space_is_one_that_a_trial_can_run(count, kind):
    tuning = spec(parameters=[f"p{n}={kind}" for n in range(count)])
    point = tuning.first_point()
    assert all(one.holds(point[one.name]) for one in tuning.search.parameters)
    trial = tuning.training_spec(point, 1)
    assert TrainingSpec.model_validate_json(trial.model_dump_json()) == trial


def check(**settings) -> None:
    TuningSpec.model_validate(PROVIDED | settings).check(CATALOGUE)


@pytest.mark.req("TUN-01")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"parameters": ["momentum=DOUBLE[0,1]"]}, "has no such hyperparameter"),
        ({"parameters": ["learning_rate=DOUBLE[0,11]"]}, "learning_rate='11': allowed is a number from 0 to 10"),
        ({"parameters": ["learning_rate=DOUBLE[-1,1]"]}, "learning_rate='-1'"),
        ({"parameters": ["iterations=INT[0,100]"]}, "iterations='0': allowed is a whole number from 1"),
        ({"parameters": ["iterations=DOUBLE[1,100]"]}, "takes whole numbers. Make it an INT"),
        ({"parameters": ["iterations=DISCRETE[10,20.5]"]}, "iterations='20.5'"),
        ({"parameters": ["iterations=DISCRETE[1e1,20]"]}, "iterations='1e1'"),
        ({"parameters": ["estimator=CATEGORICAL[linear,svm]"]}, "estimator='svm': allowed is one of"),
        ({"parameters": ["estimator=INT[1,2]"]}, "estimator='1': allowed is one of"),
        ({"parameters": ["learning_rate=CATEGORICAL[0.1,fast]"]}, "learning_rate='fast'"),
        (
            {"objective_metric": "f1"},
            "The metric 'f1': the provided algorithm tabular has no such metric. It has: loss",
        ),
        ({"metrics": ["val_loss", "f1"]}, "The metric 'f1'"),
        ({"objective_value": "BEST_STEP", "best_step_metric": "f1"}, "The metric 'f1'"),
    ],
)
def test_what_a_provided_algorithm_has_not_is_refused_before_anything_runs(settings, why):
    with pytest.raises(InvalidInputError) as refused:
        check(**settings)
    assert why in str(refused.value)


@pytest.mark.req("TUN-01")
def test_what_a_provided_algorithm_has_is_taken_and_one_s_own_code_takes_anything():
    check()
    check(parameters=["iterations=INT[10,200]", "l2=DOUBLE[1e-6,1,log]", "estimator=CATEGORICAL[linear,random_forest]"])
    check(parameters=["iterations=DISCRETE[10,20]", "hidden_layers=CATEGORICAL[100]"], metrics=["val_loss", "loss"])
    spec(parameters=["anything=DOUBLE[0,1]"]).check(CATALOGUE)


@pytest.mark.req("TUN-05")
@given(st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_goal_is_reached_by_finite_values_that_are_as_good(value, goal):
    for kind, good in ((ObjectiveType.MINIMIZE, value <= goal), (ObjectiveType.MAXIMIZE, value >= goal)):
        assert kind.reaches(value, goal) == (good and math.isfinite(value))
        assert not kind.is_better(math.nan, goal)


@pytest.mark.req("TUN-05")
def test_a_goal_of_zero_is_reached_by_minus_zero_and_the_other_way_round():
    for kind in ObjectiveType:
        assert kind.reaches(-0.0, 0.0)
        assert kind.reaches(0.0, -0.0)
        assert not kind.is_better(-0.0, 0.0)
        assert not kind.is_better(0.0, -0.0)


def test_a_parameter_is_shown_with_its_limits_in_the_form():
    schema = ParameterSpec.model_json_schema()["properties"]
    assert {"name", "type", "min", "max", "step", "log", "values"} == set(schema)
    assert all("description" in field or "$ref" in field or "allOf" in field for field in schema.values())
