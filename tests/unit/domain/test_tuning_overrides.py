"""A tuning made from a template."""

import pytest
from pydantic import ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.domain.flat_settings import GROUPS
from blocks.domain.templates import TemplateSpec
from blocks.domain.tuning_overrides import TemplatedTuningSpec
from blocks.domain.tunings import TUNING_GROUPS, StoppingRule, Strategy, TuningSpec

TEMPLATE = TemplateSpec(
    name="nightly",
    description="What every night shares",
    experiment="digits",
    algorithm="s3://bucket/code",
    entry_point="train.py",
    hyperparameters={"lr": 0.1, "depth": 3},
    workers=2,
    datasets={"train": "s3://bucket/train"},
    output="s3://bucket/model",
    metric_expressions=[r"(\w+)=(\d+)"],
    max_minutes=90,
    tags={"team": "vision"},
)


def asked(**beside):
    ranges = {"parameters": ["lr=DOUBLE[0.01,1,log]"], "objective_metric": "loss"}
    return TemplatedTuningSpec.given(TEMPLATE.name, {"name": "t", **ranges, **beside})


def tuning(template=TEMPLATE, **beside):
    return asked(**beside).over(template)


def fixed(spec):
    return {pair.name: pair.value for pair in spec.algorithm.hyperparameters}


@pytest.mark.req("TPL-02")
def test_the_templates_hyperparameters_are_fixed_values_unless_the_tuning_gives_them_a_range():
    made = tuning()

    assert fixed(made) == {"depth": "3"}
    assert [parameter.name for parameter in made.search.parameters] == ["lr"]
    assert fixed(tuning(parameters=["depth=INT[1,9]"])) == {"lr": "0.1"}
    assert fixed(tuning(parameters=["lr=DOUBLE[0,1]", "depth=INT[1,9]", "other=INT[0,1]"])) == {}


@pytest.mark.req("TPL-02")
def test_a_tuning_takes_all_other_values_of_the_template_but_its_name_and_description():
    made, whole = tuning().model_dump(), TEMPLATE.model_dump()

    assert (made["name"], made["description"]) == ("t", "")
    for same in ("experiment", "instances", "inputs", "outputs", "limits", "tags"):
        assert made[same] == whole[same]
    assert made["metrics"] == whole["metrics"] | {"names": ()}


@pytest.mark.req("TPL-02")
def test_what_is_given_beside_it_overrides_field_by_field_and_name_by_name():
    made = tuning(
        workers=1,
        hyperparameters={"depth": 5, "seed": 1},
        max_time_seconds=60,
        unset=["datasets.train", "tags.team"],
        output="",
    )

    assert fixed(made) == {"depth": "5", "seed": "1"}
    assert (made.instances.workers, made.limits.max_minutes, made.outputs.path) == (1, 1, "")
    assert (made.inputs.datasets, made.tags) == ((), ())


def test_the_tunings_own_settings_are_its_own():
    made = tuning(
        strategy="RANDOM",
        random_state=0,
        goal=0,
        warm_start="",
        max_trainings=7,
        parallel_trainings=2,
        max_tuning_time_seconds=120,
        early_stopping=True,
        start_step=9,
        metrics=["loss", "accuracy"],
    )

    assert (made.search.strategy, made.search.random_state, made.objective.goal) == (Strategy.RANDOM, 0, 0)
    assert (made.trainings.max_trainings, made.trainings.parallel_trainings) == (7, 2)
    assert made.trainings.max_tuning_minutes == 2
    assert (made.early_stopping.rule, made.early_stopping.start_step) == (StoppingRule.MEDIAN, 9)
    assert made.metrics.names == ("loss", "accuracy")
    assert made.metrics.expressions == TEMPLATE.metrics.expressions


@pytest.mark.parametrize("setting", ["workers", "max_minutes", "storage_gb"])
def test_zero_of_what_the_template_has_is_refused(setting):
    with pytest.raises(InvalidInputError, match=f"{setting} = 0.*above 0"):
        asked(**{setting: 0})


def test_zero_failed_trainings_are_refused_as_in_any_tuning():
    with pytest.raises(ValidationError, match="end the tuning before it began"):
        asked(max_failed_trainings=0)


def test_a_range_and_a_value_for_the_same_hyperparameter_beside_the_template_are_refused():
    with pytest.raises(InvalidInputError, match=r"A tuning of the template 'nightly'.*'lr' is both"):
        tuning(hyperparameters={"lr": 0.5})


def test_what_neither_the_template_nor_anybody_beside_it_gives_is_said():
    with pytest.raises(InvalidInputError, match=r"'part' and what is given beside it: algorithm: .*needs both"):
        tuning(TemplateSpec(name="part", entry_point="train.py"))
    needed = {"name": "t", "parameters": ["a=INT[0,1]"], "objective_metric": "loss"}
    for missing in ("parameters", "objective_metric"):
        with pytest.raises(ValidationError, match="required"):
            TemplatedTuningSpec.given("x", {name: needed[name] for name in needed.keys() - {missing}})


def test_it_remembers_what_was_given_beside_its_template_ranges_among_it():
    use = asked(workers=3, hyperparameters={"seed": 1}, checkpoint_input="").use("tpl-1", "nightly")

    assert (use.id, use.name) == ("tpl-1", "nightly")
    assert set(use.beside) == {"workers", "hyperparameters.seed", "checkpoint_input", "hyperparameters.lr"}


def test_a_form_that_is_submitted_as_it_is_overrides_nothing():
    form = asked()
    submitted = TemplatedTuningSpec.model_validate(form.model_dump(mode="json"))

    assert submitted.settings() == {}
    assert submitted.over(TEMPLATE) == tuning()


def test_the_form_has_the_groups_of_a_tuning_and_a_title_for_each_field():
    schema = TemplatedTuningSpec.model_json_schema()

    assert set(schema["required"]) == {"name", "template", "search", "objective"}
    for definition in (schema, *schema["$defs"].values()):
        assert all(field.get("title") or "$ref" in field for field in definition.get("properties", {}).values())
    for group, names in TUNING_GROUPS.items():
        ours, theirs = (kind.model_fields[group].annotation for kind in (TemplatedTuningSpec, TuningSpec))
        assert set(names.values()) <= ours.model_fields.keys() == theirs.model_fields.keys()
    assert GROUPS.keys() <= TUNING_GROUPS.keys()


def test_a_misspelled_setting_of_a_tuning_is_told_with_what_was_meant():
    with pytest.raises(ValidationError, match="did you mean 'parallel_trainings'"):
        asked(paralel_trainings=2)
