import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.domain.specs import ExperimentSpec, InstanceSpec, TrainingSpec

BASE = {"name": "digits-1", "algorithm": "s3://bucket/code", "entry_point": "train.py"}


def spec(**settings):
    return TrainingSpec.model_validate(BASE | settings)


def refusal(**settings):
    with pytest.raises(ValidationError) as refused:
        spec(**settings)
    return str(refused.value)


@pytest.mark.req("TRN-01")
def test_settings_may_be_flat_or_in_their_groups_and_are_the_same():
    flat = spec(
        hyperparameters={"lr": 0.1, "nesterov": True},
        workers=2,
        image="pytorch",
        flavor="c2m4",
        datasets={"train": "s3://bucket/train/"},
        checkpoint_input="nas://nas1:/old",
        output="s3://bucket/model",
        checkpoint_output="s3://bucket/checkpoints",
        metric_expressions=[r"(\w+)=(\d+)"],
        max_time_seconds=90,
        storage_gb=20,
        tags={"team": "vision"},
    )
    grouped = TrainingSpec.model_validate(
        {
            "name": "digits-1",
            "algorithm": {
                "path": "s3://bucket/code",
                "entry_point": "train.py",
                "hyperparameters": [{"name": "lr", "value": "0.1"}, {"name": "nesterov", "value": "true"}],
            },
            "instances": {"workers": 2, "image": "pytorch", "flavor": "c2m4"},
            "inputs": {"datasets": [{"name": "train", "path": "s3://bucket/train"}], "checkpoint": "nas://nas1:/old"},
            "outputs": {"path": "s3://bucket/model", "checkpoint": "s3://bucket/checkpoints"},
            "metrics": {"expressions": [r"(\w+)=(\d+)"]},
            "limits": {"max_minutes": 1.5, "storage_gb": 20},
            "tags": [{"name": "team", "value": "vision"}],
        }
    )
    assert flat == grouped
    assert TrainingSpec.model_validate_json(flat.model_dump_json()) == flat


def test_a_flat_setting_goes_beside_a_group_that_is_a_model():
    assert spec(instances=InstanceSpec(image="pytorch"), workers=2).instances == InstanceSpec(
        image="pytorch", workers=2
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"instances": {"workers": 1}, "workers": 2},
        {"max_minutes": 1, "max_time_seconds": 90},
        {"algorithm": {"path": "s3://b/c", "entry_point": "a.py"}},
    ],
)
def test_a_setting_that_is_given_twice_is_refused(settings):
    assert "given twice" in refusal(**settings)


@pytest.mark.req("COM-01")
def test_an_eleventh_tag_is_refused_with_the_limit():
    assert len(spec(tags={f"tag{n}": "x" for n in range(10)}).tags) == 10
    assert "at most 10 items" in refusal(tags={f"tag{n}": "x" for n in range(11)})


@pytest.mark.req("TRN-04")
def test_a_hundred_and_first_hyperparameter_is_refused_with_the_limit():
    assert len(spec(hyperparameters={f"hp{n}": n for n in range(100)}).algorithm.hyperparameters) == 100
    assert "at most 100 items" in refusal(hyperparameters={f"hp{n}": n for n in range(101)})


@pytest.mark.req("TRN-06")
def test_an_eleventh_dataset_is_refused_with_the_limit():
    assert len(spec(datasets={f"d{n}": "s3://bucket/x" for n in range(10)}).inputs.datasets) == 10
    assert "at most 10 items" in refusal(datasets={f"d{n}": "s3://bucket/x" for n in range(11)})


@pytest.mark.req("TRN-04")
def test_hyperparameters_that_no_environment_could_hold_are_refused_with_the_limit():
    assert "at most 100,000 are allowed" in refusal(hyperparameters={f"hp{n}": "x" * 4096 for n in range(30)})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": ""}, "pattern"),
        ({"name": "x" * 64}, "pattern"),
        ({"name": "-x"}, "pattern"),
        ({"name": "x\n"}, "pattern"),
        ({"name": "x/y"}, "pattern"),
        ({"description": "x" * 1001}, "at most 1000 characters"),
        ({"experiment": "a b"}, "pattern"),
        ({"workers": 0}, "greater than or equal to 1"),
        ({"workers": 65}, "less than or equal to 64"),
        ({"storage_gb": 0}, "greater than or equal to 1"),
        ({"storage_gb": 2041}, "less than or equal to 2040"),
        ({"max_minutes": 0}, "greater than 0"),
        ({"max_minutes": 525_601}, "less than or equal to 525600"),
        ({"max_minutes": float("nan")}, "finite number"),
        ({"max_time_seconds": "soon"}, "valid number"),
        ({"metric_expressions": ["(a)(b)"] * 21}, "at most 20 items"),
        ({"metric_expressions": ["(?=a)(b)(c)"]}, "RE2 says"),
        ({"hyperparameters": {"": 1}}, "at least 1 character"),
        ({"hyperparameters": {"x" * 129: 1}}, "at most 128 characters"),
        ({"hyperparameters": {"lr": "x" * 4097}}, "at most 4096 characters"),
        ({"hyperparameters": {"lr": "a\0b"}}, "NUL"),
        ({"hyperparameters": {"lr": None}}, "valid string"),
        ({"hyperparameters": {"--lr": 1}}, "a name is a letter"),
        ({"hyperparameters": {"l r": 1}}, "a name is a letter"),
        ({"hyperparameters": {"lr": 1, "LR": 2}}, "'lr' and 'LR' would be the same EM_HP_LR"),
        ({"hyperparameters": {"a-b": 1, "a.b": 2}}, "EM_HP_A_B"),
        ({"datasets": {"a/b": "s3://bucket/x"}}, "pattern"),
        ({"datasets": {"a-b": "s3://bucket/x", "a_b": "s3://bucket/y"}}, "EM_DATASET_A_B"),
        ({"datasets": {"train": "bucket/x"}}, "none of the known forms"),
        ({"tags": [{"name": "a"}, {"name": "a"}]}, "'a' would be the same"),
        ({"checkpoint_input": "s3://bucket/../x"}, "'..'"),
        ({"output": "/data"}, "none of the known forms"),
        ({"checkpoint_output": "/data"}, "none of the known forms"),
        ({"algorithm": "code"}, "none of the known forms"),
        ({"algorithm": ""}, "needs both a path and an entry point"),
        ({"entry_point": ""}, "needs both a path and an entry point"),
        ({"entry_point": "../train.py"}, "'..'"),
        ({"entry_point": "/train.py"}, "''"),
        ({"provided": "tabular"}, "brings its own code"),
        ({"provided": "tabula"}, "'own' or 'tabular'"),
        ({"inputs": "x", "datasets": {}}, "no group of settings"),
    ],
)
def test_a_setting_outside_its_limits_is_refused_with_the_limit(settings, why):
    assert why in refusal(**settings)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"wrokers": 2}, "no setting 'wrokers'; did you mean 'workers'?"),
        ({"instances": {"flavour": "c1m2"}}, "no setting 'flavour'; did you mean 'flavor'?"),
        ({"tags": [{"nam": "a"}]}, "no setting 'nam'; did you mean 'name'?"),
        ({"password": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_an_unknown_setting_is_refused_with_what_may_have_been_meant(settings, why):
    assert why in refusal(**settings)


@pytest.mark.req("TRN-02")
def test_a_provided_algorithm_needs_no_path():
    provided = TrainingSpec(name="a", algorithm={"provided": "tabular", "hyperparameters": {"target": "y"}})
    assert (provided.algorithm.path, provided.algorithm.entry_point) == ("", "")


@pytest.mark.req("COM-05", "TRN-06")
def test_paths_of_every_store_are_taken():
    paths = ["obs://store.example.com/container/x", "s3://bucket/x", "nas://nas1:/x", "file:///x"]
    taken = spec(datasets={f"d{n}": path for n, path in enumerate(paths)}).inputs.datasets
    assert [dataset.path for dataset in taken] == paths


@pytest.mark.req("TRN-14")
def test_any_setting_of_a_copy_can_be_overridden_and_the_rest_stays():
    original = spec(hyperparameters={"lr": 0.1, "epochs": 3}, datasets={"train": "s3://bucket/train"}, workers=2)
    changed = original.changed(
        name="digits-2", hyperparameters={"lr": 0.2}, flavor="c2m4", datasets={"test": "s3://bucket/test"}
    )
    assert changed == spec(
        name="digits-2",
        hyperparameters={"epochs": 3, "lr": 0.2},
        datasets={"train": "s3://bucket/train", "test": "s3://bucket/test"},
        workers=2,
        flavor="c2m4",
    )
    with pytest.raises(ValidationError, match="less than or equal to 64"):
        original.changed(workers=65)


def test_a_spec_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        spec().name = "other"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.floats(allow_nan=False) | st.integers(), max_size=9
    )
)
def test_numbers_are_given_as_python_prints_them(values):
    pairs = spec(hyperparameters=values).algorithm.hyperparameters
    assert {pair.name: pair.value for pair in pairs} == {name: str(value) for name, value in values.items()}


def _fields(schema):
    for model in [schema, *schema.get("$defs", {}).values()]:
        for name, field in model.get("properties", {}).items():
            yield model["title"], name, field


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("model", [TrainingSpec, ExperimentSpec])
def test_the_form_of_the_ui_has_a_title_a_description_and_an_example_for_every_field(model):
    schema = model.model_json_schema()
    assert "anyOf" not in json.dumps(schema)
    assert '"null"' not in json.dumps(schema)
    for owner, name, field in _fields(schema):
        assert field["title"], (owner, name)
        # A group's description and fields are its model's.
        assert "$ref" in field or (field["description"] and field["examples"]), (owner, name)


def test_every_limit_of_a_field_is_in_its_description():
    limits = {"maxItems", "maximum", "maxLength"}
    for owner, name, field in _fields(TrainingSpec.model_json_schema()):
        for limit in limits & field.keys():
            assert f"{int(field[limit]):,}" in field["description"], (owner, name, limit)


def test_the_form_is_short_enough_to_fill_in():
    schema = TrainingSpec.model_json_schema()
    for model in [schema, *schema["$defs"].values()]:
        assert len(model.get("properties", {})) <= 10


def test_settings_may_be_a_mapping_and_anything_else_is_refused_with_what_to_give():
    assert TrainingSpec.of(BASE) == TrainingSpec.of(spec()) == spec()
    with pytest.raises(ValidationError, match="less than or equal to 64"):
        TrainingSpec.of(BASE | {"workers": 65})
    with pytest.raises(InvalidInputError, match="Give a TrainingSpec"):
        TrainingSpec.of("digits-1")
