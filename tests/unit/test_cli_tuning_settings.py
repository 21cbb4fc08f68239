"""Options and `-f` together make the settings of a tuning."""

from pathlib import Path
from typing import Any

import pytest

from blocks.domain.errors import InvalidInputError
from blocks.domain.tuning_overrides import TemplatedTuningSpec
from blocks.domain.tunings import ObjectiveType, StoppingRule, Strategy, TuningSpec
from deployments.cli.failures import describe
from deployments.cli.settings_file import named_settings, settings_over_template
from deployments.cli.tuning_options import TUNING

YAML = """
name: digits
experiment: e1
algorithm: ./code
entry-point: train.py
hp: {seed: 1}
param:
  - lr=DOUBLE[1e-4,1e-1,log]
  - {name: depth, type: INT, min: 1, max: 5}
strategy: random
objective: loss
parallel: 2
max-failed: 3
max-time: 90s
max-tuning-time: 2h
early-stopping: true
start-step: 2
metrics: [loss, accuracy]
output: models
"""
NEEDED = {"algorithm": "/c", "entry_point": "t.py", "parameters": ["lr=DOUBLE[0,1]"], "objective_metric": "loss"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "spec.yaml"
    found.write_text(YAML)
    return found


def spec_of(file: Path | None, **settings: Any) -> TuningSpec:
    return TuningSpec.model_validate(named_settings(file, settings, TUNING))


def refused(**settings: Any) -> str:
    with pytest.raises((ValueError, InvalidInputError)) as caught:
        spec_of(None, **{name: value for name, value in {**NEEDED, **settings}.items() if value is not None})
    return describe(caught.value).message


def test_a_file_may_use_the_names_of_the_options_and_the_groups_of_the_spec(file: Path, tmp_path: Path) -> None:
    spec = spec_of(file)

    assert [parameter.name for parameter in spec.search.parameters] == ["lr", "depth"]
    assert (spec.search.strategy, spec.objective.metric) == (Strategy.RANDOM, "loss")
    assert (spec.trainings.parallel_trainings, spec.trainings.max_failed_trainings) == (2, 3)
    assert (spec.limits.max_minutes, spec.trainings.max_tuning_minutes) == (1.5, 120)
    assert (spec.early_stopping.rule, spec.early_stopping.start_step) == (StoppingRule.MEDIAN, 2)
    assert spec.metrics.names == ("loss", "accuracy")
    assert (spec.algorithm.path, spec.outputs.path) == (f"file://{tmp_path}/code", f"file://{tmp_path}/models")


def test_a_file_may_hold_the_groups_themselves_and_parameters_by_name(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(
        '{"algorithm": {"path": "/c", "entry_point": "t.py"}, "objective": {"metric": "loss", "type": "MAXIMIZE"},'
        '"search": {"parameters": {"lr": "DOUBLE[0,1]", "act": {"type": "CATEGORICAL", "values": "a,b"}}},'
        '"trainings": {"max_trainings": 4}, "early_stopping": {"start_step": 3}}'
    )
    spec = spec_of(file)

    assert [(p.name, p.values) for p in spec.search.parameters] == [("lr", ()), ("act", ("a", "b"))]
    assert (spec.objective.type, spec.max_trainings, spec.early_stopping.start_step) == (ObjectiveType.MAXIMIZE, 4, 3)


def test_what_is_given_beside_the_file_overrides_it_field_by_field_and_name_by_name(file: Path) -> None:
    spec = spec_of(
        file,
        parameters=["lr=DISCRETE[1,2]"],
        strategy="bayes",
        minimize=False,
        max_tuning_time_seconds="30m",
        early_stopping=False,
        unset=["hp.seed", "param.depth", "max-failed"],
        keep="best 2",
    )

    assert [(p.name, p.values) for p in spec.search.parameters] == [("lr", ("1", "2"))]
    assert (spec.search.strategy, spec.objective.type) == (Strategy.BAYESIAN_OPTIMIZATION, ObjectiveType.MAXIMIZE)
    assert (spec.trainings.max_tuning_minutes, spec.trainings.max_failed_trainings) == (30, None)
    assert (spec.trainings.parallel_trainings, spec.trainings.kept) == (2, 2)
    assert (spec.early_stopping.rule, spec.early_stopping.start_step) == (StoppingRule.NONE, 2)
    assert spec.algorithm.hyperparameters == ()


@pytest.mark.parametrize("number", ["start_step", "min_trainings_required"])
def test_a_number_of_early_stopping_turns_it_on_also_for_a_copy(number: str) -> None:
    assert spec_of(None, **NEEDED).early_stopping.rule is StoppingRule.NONE
    assert spec_of(None, **NEEDED, **{number: 2}).early_stopping.rule is StoppingRule.MEDIAN
    copied = spec_of(None, **NEEDED).changed(**TUNING.read({number: 2}))
    assert copied.early_stopping.rule is StoppingRule.MEDIAN
    assert copied.changed(**TUNING.read({"early_stopping": False})).early_stopping.rule is StoppingRule.NONE


def test_a_copy_can_have_another_time_limit_in_the_form_of_the_option() -> None:
    spec = spec_of(None, **NEEDED, max_tuning_time_seconds="1h")

    assert spec.changed(**TUNING.read({"max_tuning_time_seconds": "2h"})).trainings.max_tuning_minutes == 120
    assert spec.changed(**TUNING.read({"unset": ["max-tuning-time"]})).trainings.max_tuning_minutes is None


def test_beside_a_template_a_range_takes_the_place_of_its_value_and_unset_is_the_templates(file: Path) -> None:
    given = settings_over_template(file, {"unset": ["hp.depth", "checkpoint-input"], "goal": 0.0}, TUNING)
    spec = TemplatedTuningSpec.given("nightly", given)

    assert spec.unset == ("hyperparameters.depth", "checkpoint_input")
    assert (spec.objective.goal, spec.trainings.parallel_trainings) == (0, 2)


@pytest.mark.req("TUN-02", "TUN-05", "TUN-06", "TUN-07", "TUN-09", "TUN-10")
@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"parameters": None}, "--param: it is needed, e.g."),
        ({"objective_metric": None}, "--objective: it is needed, e.g."),
        ({"parameters": ["lr=DOUBLE[0,1"]}, "--param 'lr=DOUBLE[0,1': it is not written as"),
        ({"parameters": ["lr=DOUBLE[1,0]"]}, "--param: parameter 'lr': max 0 is below min 1"),
        ({"parameters": ["lr=DOUBLE[0,1]", "lr=INT[0,1]"]}, "--param: "),
        ({"parameters": ["lr=DOUBLE[0,1,step=0]"]}, "--param: parameter 'lr': step 0 is not above 0"),
        ({"parameters": ["a=DISCRETE[]"]}, "--param: parameter 'a': "),
        ({"hyperparameters": ["lr=1"]}, "--param: 'lr' is both"),
        ({"strategy": "grid"}, "--param: "),
        ({"strategy": "grid", "parameters": ["a=INT[1,20]"], "max_trainings": 5}, "--max-trainings: the grid has 20"),
        ({"strategy": "x"}, "--strategy 'x': it is none of the choices. One of: BAYESIAN_OPTIMIZATION"),
        ({"sampler": "cma"}, "--sampler 'cma'"),
        ({"random_state": -1}, "--random-state: "),
        ({"goal": float("inf")}, "--goal: "),
        ({"objective_value": "best_step"}, "--objective-value: "),
        ({"best_step_metric": "x"}, "--objective-value: "),
        ({"minimize": True, "objective_type": "maximize"}, "--objective-type: "),
        ({"max_trainings": 0}, "--max-trainings: "),
        ({"max_failed_trainings": 0}, "--max-failed: 0 would end"),
        ({"max_failed_trainings": 11}, "--max-failed: "),
        ({"parallel_trainings": 65}, "--parallel: "),
        ({"parallel_trainings": 11}, "--parallel: "),
        ({"max_tuning_time_seconds": "0s"}, "--max-tuning-time: more than 0s and at most 365d are allowed"),
        ({"max_tuning_time_seconds": "1"}, "--max-tuning-time '1': it is no duration"),
        ({"keep": "some"}, "--keep: "),
        ({"start_step": 0}, "--start-step: "),
        ({"min_trainings_required": 0}, "--min-trainings-required: "),
        ({"metric_names": ["accuracy"]}, "--objective: the objective 'loss' is not among"),
        ({"metric_expressions": ["("]}, "--metric: "),
        ({"unset": ["rate"]}, "unset 'rate': there is no such setting"),
    ],
    ids=str,
)
def test_every_refusal_names_its_option(settings: dict[str, Any], option: str) -> None:
    assert refused(**settings).startswith(option)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("parameters: [lr=DOUBLE]", "--param 'lr=DOUBLE': it is not written as a parameter is"),
        ("parameters: {lr: null}", "--param 'lr=None'"),
        ("objective: loss\nobjective-metric: loss", "given twice|objective_metric"),
        ("strategy: fast", "strategy 'fast': it is none of the choices"),
        ("max-tuning-time: 1h\nmax_tuning_minutes: 5", "the maximum time is given twice"),
        ("metrics: [a]\nmetric_names: [b]", "given twice"),
        ("early-stopping: true\nearly_stopping: false", "given twice"),
        ("parameters: [", "neither YAML nor JSON"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_its_name(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)

    with pytest.raises(InvalidInputError, match=rf"odd\.yaml.*({why})"):
        spec_of(file)


def test_a_misspelled_setting_in_a_file_is_told_with_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text("paralel_trainings: 2\n")

    with pytest.raises(ValueError, match="did you mean 'parallel_trainings'"):
        spec_of(file)


def test_a_tuning_without_a_name_gets_one_of_its_experiment_and_chance() -> None:
    names = {spec_of(None, **NEEDED, experiment="digits").name for _ in range(3)}

    assert len(names) == 3
    assert all(name.startswith("digits-") for name in names)
