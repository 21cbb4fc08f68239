import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.domain.catalogues import BUILT_IN
from blocks.domain.errors import InputMissingError, InvalidInputError, TemplateOutdatedError
from blocks.domain.flat_settings import GROUPS, drop_fields, flat_names, merge_fields
from blocks.domain.specs import MAX_HYPERPARAMETERS, ProvidedAlgorithm, TrainingSpec
from blocks.domain.template_overrides import AlgorithmChoice, TemplateCopySpec, TemplatedTrainingSpec, TemplateOverrides
from blocks.domain.templates import TemplateSpec, TemplateUse, named_by

WHOLE = TemplateSpec(
    name="nightly",
    description="What every night shares",
    experiment="digits",
    algorithm="s3://bucket/code",
    entry_point="train.py",
    hyperparameters={"lr": 0.1, "depth": 3},
    image="pytorch",
    flavor="c2m4",
    workers=2,
    datasets={"train": "s3://bucket/train", "test": "s3://bucket/test"},
    checkpoint_input="nas://nas1:/old",
    output="s3://bucket/model",
    checkpoint_output="s3://bucket/checkpoints",
    metric_expressions=[r"(\w+)=(\d+)"],
    metrics_of_all_workers=True,
    max_minutes=90,
    storage_gb=20,
    log_management=True,
    tags={"team": "vision", "stage": "1"},
)


def training(template=WHOLE, **beside):
    return TemplatedTrainingSpec.given(template.name, {"name": "t", **beside}).over(template)


def pairs(named):
    return {item.name: getattr(item, "value", None) or getattr(item, "path", "") for item in named}


@pytest.mark.req("TPL-01")
def test_every_setting_of_a_template_may_be_left_out():
    empty = TemplateSpec(name="empty")
    assert empty.algorithm.path == ""
    empty.check(BUILT_IN)
    for one in ({"algorithm": "s3://bucket/code"}, {"entry_point": "train.py"}, {"provided": "tabular"}):
        TemplateSpec(name="part", **one).check(BUILT_IN)


@pytest.mark.req("TPL-01")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"workers": 65}, "less than or equal to 64"),
        ({"hyperparameters": {f"h{n}": n for n in range(MAX_HYPERPARAMETERS + 1)}}, "at most 100 items"),
        ({"datasets": {f"d{n}": "s3://b/d" for n in range(11)}}, "at most 10 items"),
        ({"tags": {f"t{n}": "" for n in range(11)}}, "at most 10 items"),
        ({"provided": "tabular", "algorithm": "s3://b/c"}, "given twice|brings its own code"),
        ({"metric_expressions": ["("]}, "missing"),
        ({"output": "ftp://b/x"}, "obs://"),
        ({"worker": 2}, "did you mean 'workers'"),
    ],
)
def test_a_template_has_a_trainings_limits(settings, why):
    with pytest.raises(ValidationError, match=why):
        TemplateSpec(name="nightly", **settings)


@pytest.mark.req("TPL-01")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"flavor": "huge"}, "The flavor 'huge'"),
        ({"image": "nothing"}, "The image 'nothing'"),
        ({"provided": "tabular", "hyperparameters": {"iterations": 0}}, "iterations='0': allowed is"),
        ({"provided": "tabular", "hyperparameters": {"rate": 1}}, "has no such hyperparameter"),
        ({"datasets": {"train": "s3://b/d"}, "output": "s3://b/d/out"}, "shares its folder"),
    ],
)
def test_only_what_is_wrong_for_sure_is_refused_before_a_template_is_used(settings, why):
    spec = TemplateSpec(name="nightly", **settings)
    with pytest.raises(InvalidInputError, match=why):
        spec.check(BUILT_IN)


def test_a_template_that_has_come_to_name_what_is_gone_can_still_be_changed_elsewhere():
    gone = TemplateSpec(name="nightly", flavor="huge", provided="tabular", hyperparameters={"rate": 1})
    gone.changed(description="other", max_minutes=5).check(BUILT_IN, gone)
    with pytest.raises(InvalidInputError, match="huge"):
        gone.changed(workers=2).check(BUILT_IN, gone)


@pytest.mark.req("TPL-02")
def test_a_training_takes_all_values_of_the_template_but_its_name_and_description():
    made = training()
    assert (made.name, made.description) == ("t", "")
    theirs, ours = (spec.model_dump(exclude={"name", "description"}) for spec in (WHOLE, made))
    assert ours == theirs


@pytest.mark.req("TPL-02")
@pytest.mark.parametrize(
    ("beside", "group", "field", "value"),
    [
        ({"entry_point": "other.py"}, "algorithm", "entry_point", "other.py"),
        ({"algorithm": "s3://bucket/other"}, "algorithm", "path", "s3://bucket/other"),
        ({"image": "python"}, "instances", "image", "python"),
        ({"flavor": "c1m2"}, "instances", "flavor", "c1m2"),
        ({"workers": 1}, "instances", "workers", 1),
        ({"checkpoint_input": "s3://bucket/new"}, "inputs", "checkpoint", "s3://bucket/new"),
        ({"checkpoint_input": ""}, "inputs", "checkpoint", ""),
        ({"output": "s3://bucket/out"}, "outputs", "path", "s3://bucket/out"),
        ({"metric_expressions": [r"(a)=(\d+)"]}, "metrics", "expressions", (r"(a)=(\d+)",)),
        ({"metrics_of_all_workers": False}, "metrics", "all_workers", False),
        ({"log_management": False}, "limits", "log_management", False),
        ({"max_time_seconds": 60}, "limits", "max_minutes", 1),
        ({"limits": {"storage_gb": 50}}, "limits", "storage_gb", 50),
        ({"unset": ["storage_gb"]}, "limits", "storage_gb", 50),
        ({"unset": ["checkpoint_output"]}, "outputs", "checkpoint", ""),
    ],
)
def test_what_is_given_beside_a_template_overrides_that_field_and_no_other(beside, group, field, value):
    made = training(**beside).model_dump()
    expected = WHOLE.model_dump() | {"name": "t", "description": ""}
    expected[group] = expected[group] | {field: value}
    assert made == expected


@pytest.mark.req("TPL-02")
def test_hyperparameters_datasets_and_tags_are_merged_by_name_and_can_be_left_out_by_name():
    made = training(
        hyperparameters={"lr": 0.3, "new": ""},
        datasets={"test": "s3://bucket/other"},
        tags={"stage": "2", "night": "1"},
        unset=["hyperparameters.depth", "datasets.train", "tags.team"],
    )
    assert pairs(made.algorithm.hyperparameters) == {"lr": "0.3", "new": ""}
    assert pairs(made.inputs.datasets) == {"test": "s3://bucket/other"}
    assert pairs(made.tags) == {"stage": "2", "night": "1"}
    assert training(unset=["hyperparameters", "tags"], tags={"a": "b"}).tags[0].name == "a"


@pytest.mark.req("TPL-02")
@pytest.mark.parametrize("setting", ["workers", "max_minutes", "storage_gb"])
def test_zero_is_as_in_the_template_in_a_form_and_refused_elsewhere(setting):
    assert TemplatedTrainingSpec.model_validate({"name": "t", "template": "x"}).settings() == {}
    with pytest.raises(InvalidInputError, match=f"{setting} = 0.*above 0"):
        TemplatedTrainingSpec.given("x", {"name": "t", setting: 0})
    group = "instances" if setting == "workers" else "limits"
    with pytest.raises(InvalidInputError, match=f"{setting} = 0"):
        TemplatedTrainingSpec.given("x", {"name": "t", group: {setting: 0}})


@pytest.mark.parametrize(
    ("unset", "why"),
    [
        ("hyperparameters.rate", "there is none of this name. The hyperparameters are: lr, depth"),
        ("datasets.valid", "The datasets are: train, test"),
        ("rate", "there is no such setting. One of: "),
        ("workers.lr", "there is no such setting"),
        ("name", "there is no such setting"),
        ("", "there is no such setting"),
    ],
)
def test_what_is_not_there_cannot_be_left_out(unset, why):
    with pytest.raises(InvalidInputError, match=why):
        training(unset=[unset])


def test_a_provided_algorithm_and_ones_own_take_each_others_place_whole():
    provided = training(provided="tabular", unset=["hyperparameters"], hyperparameters={"target": "y"})
    assert (provided.algorithm.provided, provided.algorithm.path) == (ProvidedAlgorithm.TABULAR, "")
    own = provided.changed(algorithm="s3://bucket/code", entry_point="train.py")
    assert (own.algorithm.provided, own.algorithm.entry_point) == (ProvidedAlgorithm.OWN, "train.py")
    with pytest.raises(ValidationError, match="brings its own code"):
        own.changed(provided="tabular", entry_point="train.py")


@pytest.mark.req("TPL-02")
def test_what_neither_the_template_nor_anybody_beside_it_gives_is_said():
    with pytest.raises(
        InvalidInputError, match=r"'part' and what is given beside it: algorithm: .*needs both"
    ) as refused:
        training(TemplateSpec(name="part", entry_point="train.py"))
    assert "beside the template" in str(refused.value)
    assert training(TemplateSpec(name="part", entry_point="a.py"), algorithm="s3://b/c").algorithm.path == "s3://b/c"
    many = {f"h{n}": n for n in range(99)}
    with pytest.raises(InvalidInputError, match="at most 100 items"):
        training(hyperparameters=many)


def test_a_form_that_is_submitted_as_it_is_overrides_nothing():
    form = TemplatedTrainingSpec(name="t", template="nightly")
    submitted = TemplatedTrainingSpec.model_validate(form.model_dump(mode="json"))
    assert submitted.settings() == {}
    assert submitted.over(WHOLE) == training()
    assert TemplateOverrides(template="nightly").changed_template(WHOLE) == WHOLE


def test_the_forms_of_templates_show_groups_with_titles_and_literal_defaults():
    for form in (TemplateSpec, TemplateOverrides, TemplateCopySpec, TemplatedTrainingSpec):
        schema = form.model_json_schema()
        for name, field in schema["properties"].items():
            assert field.get("title"), (form, name)
            assert name in schema.get("required", ()) or "default" in field, (form, name)
            assert "anyOf" not in field, (form, name)
        for definition in schema["$defs"].values():
            assert all(field.get("title") for field in definition.get("properties", {}).values())
    assert TemplatedTrainingSpec.model_json_schema()["required"] == ["template", "name"]
    assert TemplateSpec.model_json_schema()["required"] == ["name"]


def test_a_form_offers_every_provided_algorithm_and_the_groups_of_a_training():
    assert {choice.value for choice in AlgorithmChoice} == {"template", *(known.value for known in ProvidedAlgorithm)}
    for group, names in GROUPS.items():
        ours, theirs = (kind.model_fields[group].annotation for kind in (TemplateOverrides, TrainingSpec))
        assert ours.model_fields.keys() == theirs.model_fields.keys() >= set(names.values())


def test_a_training_remembers_what_was_given_beside_its_template():
    asked = TemplatedTrainingSpec.given(
        "nightly", {"name": "t", "workers": 3, "hyperparameters": {"lr": 1}, "checkpoint_input": "", "experiment": "e"}
    )
    use = asked.use("tpl-1", "nightly")
    assert use == TemplateUse(
        id="tpl-1", name="nightly", beside=("hyperparameters.lr", "workers", "experiment", "checkpoint_input")
    )


@pytest.mark.req("TPL-02")
def test_an_error_names_the_template_only_where_the_setting_is_the_templates():
    use, gone = TemplateUse(id="tpl-1", name="nightly", beside=("datasets.test",)), InputMissingError("s3://bucket/x")
    told = r"'nightly' .*datasets.train: s3://bucket/x"
    with pytest.raises(TemplateOutdatedError, match=told) as named, named_by(use, "datasets.train"):
        raise gone
    assert "makerflow template change nightly" in str(named.value)
    for other in (use, None):
        with pytest.raises(InputMissingError), named_by(other, "datasets.test"):
            raise gone


_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "workers": st.integers(1, 64),
        "flavor": st.sampled_from(["c1m2", "c2m4"]),
        "max_minutes": st.integers(1, 100),
        "metrics_of_all_workers": st.booleans(),
        "output": st.sampled_from(["s3://b/one", "s3://b/two"]),
        "hyperparameters": st.dictionaries(st.sampled_from(["lr", "depth", "seed"]), st.integers(0, 9)),
        "tags": st.dictionaries(st.sampled_from(["team", "stage"]), st.text("ab", max_size=3)),
    },
)
_CODE = {"algorithm": "s3://bucket/code", "entry_point": "train.py"}


@given(_SETTINGS, _SETTINGS)
def test_a_template_with_something_beside_it_is_the_training_with_all_of_it_at_once(kept, beside):
    both = kept | beside
    for name in ("hyperparameters", "tags"):
        both[name] = kept.get(name, {}) | beside.get(name, {})
    made, whole = training(TemplateSpec(name="x", **_CODE, **kept), **beside), TrainingSpec(name="t", **_CODE, **both)
    named = {"algorithm": {"hyperparameters"}, "tags": True}
    assert made.model_dump(exclude=named) == whole.model_dump(exclude=named)
    assert pairs(made.algorithm.hyperparameters) == pairs(whole.algorithm.hyperparameters)
    assert pairs(made.tags) == pairs(whole.tags)


@given(_SETTINGS)
def test_unsetting_every_name_of_some_settings_leaves_the_defaults(settings):
    template = TemplateSpec(name="x", **settings)
    names = set(flat_names(template.model_dump(mode="json")))
    assert TemplateSpec(name="x") == template.changed(unset=sorted(names))
    assert merge_fields(drop_fields({}, []), {}) == {}
