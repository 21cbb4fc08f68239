"""Options and `-f` together make the settings of a training."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.errors import InvalidInputError
from blocks.domain.specs import TrainingSpec
from deployments.cli.failures import describe
from deployments.cli.settings_file import named_settings, settings_over_template

YAML = """
name: digits
experiment: e1
algorithm: ./code
entry-point: train.py
hyperparameters: {lr: 0.1, depth: 3}
dataset:
  train: data/train
  test: s3://bucket/test
max-time: 90s
limits:
  storage_gb: 7
tags: {team: vision}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "spec.yaml"
    found.write_text(YAML)
    return found


def spec_of(file: Path | None, **settings: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(named_settings(file, settings))


def test_a_file_may_use_the_names_of_the_options_and_the_groups_of_the_spec(file: Path) -> None:
    spec = spec_of(file)

    assert spec.limits.max_minutes == 1.5
    assert spec.limits.storage_gb == 7
    assert spec.algorithm.entry_point == "train.py"


def test_paths_of_this_machine_start_from_the_files_folder(file: Path) -> None:
    spec = spec_of(file)

    assert spec.algorithm.path == f"file://{file.parent}/code"
    assert [dataset.path for dataset in spec.inputs.datasets] == [
        f"file://{file.parent}/data/train",
        "s3://bucket/test",
    ]


def test_what_is_given_beside_the_file_overrides_it_field_by_field(file: Path) -> None:
    spec = spec_of(file, hyperparameters=["lr=0.5"], datasets=["test=/other"], max_time_seconds="2h", workers=2)

    assert {pair.name: pair.value for pair in spec.algorithm.hyperparameters} == {"depth": "3", "lr": "0.5"}
    assert {d.name: d.path for d in spec.inputs.datasets}["test"] == "file:///other"
    assert spec.limits.max_minutes == 120
    assert spec.limits.storage_gb == 7
    assert spec.instances.workers == 2


def test_what_the_file_sets_can_be_left_out_by_the_names_of_the_options(file: Path) -> None:
    spec = spec_of(file, unset=["hp.depth", "dataset.train", "tag.team", "max-time", "storage-gb"])

    assert [pair.name for pair in spec.algorithm.hyperparameters] == ["lr"]
    assert [dataset.name for dataset in spec.inputs.datasets] == ["test"]
    assert (spec.tags, spec.limits.max_minutes, spec.limits.storage_gb) == ((), 1440, 50)


def test_beside_a_template_only_the_templates_settings_are_left_out(file: Path) -> None:
    settings = settings_over_template(file, {"unset": ["hp.depth", "checkpoint-input"], "workers": 2})

    assert settings["unset"] == ["hyperparameters.depth", "checkpoint_input"]
    assert [pair["name"] for pair in settings["algorithm"]["hyperparameters"]] == ["lr", "depth"]
    assert settings["instances"] == {"workers": 2}


def test_json_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"algorithm": {"path": "/code", "entry_point": "a.py"}, "tags": [{"name": "a"}]}))

    assert spec_of(file).tags[0].name == "a"


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "just text", "", "a: [", "\x00", "limits: 3\nstorage_gb: 1", "storage_gb: 1\nlimits: {storage_gb: 2}"],
)
def test_a_file_that_holds_no_settings_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)

    with pytest.raises(InvalidInputError, match=r"odd\.yaml"):
        named_settings(file, {})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        named_settings(tmp_path / "missing.yaml", {})


def test_a_training_without_a_name_gets_one_of_its_experiment_and_chance() -> None:
    names = {spec_of(None, experiment="e" * 63, algorithm="/c", entry_point="t.py").name for _ in range(5)}

    assert len(names) == 5
    assert all(name.startswith("eeee") and len(name) <= 63 for name in names)


def test_refused_settings_are_told_field_by_field_under_their_options() -> None:
    with pytest.raises(ValueError, match="workers") as caught:
        spec_of(None, algorithm="/c", entry_point="t.py", workers=65, storage_gb=0, name="a b", datasets=["a b=/d"])

    failure = describe(caught.value)

    assert [field.option for field in failure.fields] == ["--name", "--workers", "--dataset (0.name)", "--storage-gb"]
    assert "1 to 63 letters" in failure.fields[0].message
    assert "64" in failure.fields[1].message
    assert failure.code == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tags": [f"t{n}=" for n in range(11)]}, "--tag: at most 10 tags are allowed (given: 11)"),
        ({"experiment": "x y"}, "--experiment: it has to be 1 to 63 letters"),
    ],
)
def test_one_mistake_is_told_once_and_in_plain_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="1 validation error") as caught:
        spec_of(None, algorithm="/c", entry_point="t.py", **settings)

    assert describe(caught.value).message.startswith(message)


@pytest.mark.parametrize("settings", [{}, {"algorithm": "/c"}, {"entry_point": "t.py"}])
def test_a_training_needs_code_or_a_provided_algorithm(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="algorithm") as caught:
        spec_of(None, **settings)

    assert "or choose a provided algorithm" in describe(caught.value).message


def test_an_unknown_setting_in_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("algorithm: /c\nentry_point: t.py\nworker: 2\n")

    with pytest.raises(ValueError, match="worker") as caught:
        spec_of(file)

    assert "worker" in describe(caught.value).message


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("entry_point: a.py\nentry-point: b.py", ("entry_point", "entry-point")),
        ("hp: {a: 1}\nhyperparameters: {a: 2}", ("hp", "hyperparameters")),
        ("name: a\nname: a", ("'name'", "line 2")),
        ('{"limits": {"storage_gb": 1, "storage_gb": 2}}', ("'storage_gb'", "twice")),
    ],
)
def test_a_setting_given_twice_in_a_file_is_refused_by_both_names(
    tmp_path: Path, text: str, both: tuple[str, str]
) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text(text)

    with pytest.raises(InvalidInputError, match="twice") as caught:
        named_settings(file, {})
    assert all(name in str(caught.value) for name in both)


def test_a_file_may_hold_pairs_as_options_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    pairs = {"hp": ["a=1"], "dataset": ["train=../data"], "tag": ["x=y"]}
    file.write_text(json.dumps({"algorithm": "/code", "entry-point": "a.py"} | pairs))

    spec = spec_of(file)

    assert [(pair.name, pair.value) for pair in spec.algorithm.hyperparameters] == [("a", "1")]
    assert spec.inputs.datasets[0].path == f"file://{tmp_path.parent}/data"
    assert [(tag.name, tag.value) for tag in spec.tags] == [("x", "y")]


@pytest.mark.parametrize("value", ["", "null", "2026-01-01", "[1, 2]"])
def test_a_hyperparameter_that_is_no_text_is_refused_by_its_name(tmp_path: Path, value: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"hyperparameters:\n  start: {value}\n")

    with pytest.raises(InvalidInputError, match=r"--hp start: .*Quote it"):
        named_settings(file, {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tags: " + "[" * 5000, "nested too deeply"),
        ('{"tags": ' + "[" * 200_000, "nested too deeply"),
        ("name: " + "x" * 2**20, "at most 1 MiB"),
        ("description: 2026-99-99", "neither YAML nor JSON"),
    ],
    ids=["yaml", "json", "large", "date"],
)
def test_a_file_that_is_no_settings_is_refused_however_it_is_built(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)

    with pytest.raises(InvalidInputError, match=why):
        named_settings(file, {})


def test_a_device_without_an_end_is_refused_after_a_bounded_read() -> None:
    with pytest.raises(InvalidInputError, match="at most 1 MiB"):
        named_settings(Path("/dev/zero"), {})


def test_settings_from_stdin_have_paths_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"algorithm: ./code\nentry-point: a.py\n")))

    assert spec_of(Path("-")).algorithm.path == f"file://{tmp_path}/code"


@pytest.mark.parametrize(("given", "shown"), [("99999999999d", "99999999999d 00h"), ("0s", "0.0s")])
def test_a_time_outside_its_limits_is_refused_in_the_form_of_its_option(given: str, shown: str) -> None:
    with pytest.raises(ValueError, match="max_minutes") as caught:
        spec_of(None, algorithm="/c", entry_point="t.py", max_time_seconds=given)

    message = f"--max-time: more than 0s and at most 365d are allowed (given: {shown})"
    assert describe(caught.value).message == message


def test_a_name_that_is_a_number_in_a_file_is_to_be_quoted(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("name: 12\nalgorithm: /c\nentry_point: t.py\n")

    with pytest.raises(ValueError, match="name") as caught:
        spec_of(file)
    assert describe(caught.value).message == "--name: it is no text: quote it (given: 12)"
