"""The life of a template through the flows, and trainings that are made from one."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    TemplateOutdatedError,
    TransientError,
)
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.template_overrides import TemplatedTrainingSpec, TemplateOverrides
from blocks.domain.templates import TemplateSpec
from blocks.registry.records import Training
from flows.template import change_template, copy_template, create_template, create_template_flow, delete_template
from flows.training import (
    create_training,
    create_training_from_template,
    create_training_from_template_flow,
    resume_training,
)
from tasks.engine import run_flow
from tasks.template import change_template_row, copy_template_row, register_template
from tasks.training import check_access, register_repeated, register_training

PRINTS_ARGUMENTS = "import os, sys\nprint(*sys.argv[1:], 'world', os.environ['WORLD_SIZE'])\nprint('loss=1')\n"


@pytest.fixture
def code(home: Path, tmp_path: Path) -> Path:
    """A folder with an entry point that prints its arguments."""
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "train.py").write_text(PRINTS_ARGUMENTS)
    return directory


def template_of(code: Path, **settings: Any) -> TemplateSpec:
    """A template called `nightly`, complete."""
    whole = {"name": "nightly", "algorithm": f"file://{code}", "entry_point": "train.py"}
    return TemplateSpec.model_validate(whole | settings)


def finished(training: object) -> Training:
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE, training.reason
    return training


@pytest.mark.req("TPL-01", "TPL-02", "TRN-01", "COM-04")
def test_a_training_of_a_template_runs_with_its_values_and_what_is_given_beside_it(code: Path) -> None:
    out = f"file://{code.parent}/out"
    template = create_template(
        template_of(code, hyperparameters={"lr": 0.1, "depth": 3}, workers=2, output=out, tags={"team": "vision"})
    )
    beside = {"hyperparameters": {"lr": 0.3}, "unset": ["hyperparameters.depth"], "tags": {"night": "1"}}
    training = finished(create_training_from_template("nightly", workers=1, **beside))

    assert training.name == "nightly"
    assert "--lr 0.3 world 1\n" in (code.parent / "out" / "makerflow-logs" / "output.log").read_text()
    assert training.tags == {"team": "vision", "night": "1"}
    assert training.template is not None
    assert (training.template.id, training.template.name) == (template.id, "nightly")

    change_template("nightly", name="weekly", workers=64)
    delete_template("weekly")
    assert open_platform().registry.trainings.get(training.id) == training
    with pytest.raises(NotFoundError, match="no template 'nightly'"):
        create_training({"name": "t", "template": "nightly"})


@pytest.mark.req("TPL-01", "COM-03")
def test_a_template_is_changed_and_copied_field_by_field(code: Path) -> None:
    create_template(template_of(code, hyperparameters={"lr": 0.1, "depth": 3}, checkpoint_input="s3://b/old"))
    changed = change_template("nightly", description="d", hyperparameters={"lr": 0.2}, checkpoint_input="")
    assert (changed.description, changed.spec.inputs.checkpoint, changed.revision) == ("d", "", 1)
    assert {pair.name: pair.value for pair in changed.spec.algorithm.hyperparameters} == {"depth": "3", "lr": "0.2"}

    copied = copy_template("nightly", workers=3, unset=["hyperparameters.lr"])
    assert (copied.name, copied.description, copied.spec.instances.workers) == ("nightly-2", "d", 3)
    assert copy_template(copied.id, name="weekly").spec == copied.spec.changed(name="weekly")
    for refused in (copy_template, change_template):
        with pytest.raises(AlreadyExistsError):
            refused("nightly", name="weekly")
    with pytest.raises(InvalidInputError, match="huge"):
        change_template("nightly", flavor="huge")
    assert open_platform().registry.templates.get("nightly") == changed


@pytest.mark.req("TPL-01")
def test_changes_at_the_same_time_all_come_true(code: Path) -> None:
    create_template(template_of(code))
    changes: list[dict[str, Any]] = [{"workers": 2}, {"storage_gb": 7}, {"flavor": "c2m4"}, {"tags": {"a": "b"}}]

    def change(one: dict[str, Any]) -> None:
        for _ in range(20):  # as the step's retries do, without their pauses
            with suppress(TransientError):
                change_template_row.task.fn(TemplateOverrides.given("nightly", one))
                return

    threads = [threading.Thread(target=change, args=(one,)) for one in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = open_platform().registry.templates.get("nightly")
    wanted = template_of(code, workers=2, storage_gb=7, flavor="c2m4", tags={"a": "b"})
    assert (found.spec, found.revision) == (wanted, len(changes))


@pytest.mark.req("COM-04")
def test_each_step_that_is_run_again_finds_what_it_has_made(code: Path) -> None:
    made = register_template.task.fn(template_of(code), "key-1")
    assert register_template.task.fn(template_of(code), "key-1") == made
    copied = copy_template_row.task.fn(TemplateOverrides(template="nightly"), "key-2")
    asked = TemplatedTrainingSpec(name="t", template="nightly", instances={"workers": 2})
    training_id = register_training.task.fn(asked, "key-3")
    repeated = register_repeated.task.fn(asked, "key-4")
    change_template("nightly", flavor="c2m4")
    delete_template("nightly")

    assert copy_template_row.task.fn(TemplateOverrides(template="nightly"), "key-2") == copied
    assert register_training.task.fn(asked, "key-3") == training_id
    assert register_repeated.task.fn(asked, "key-4") == repeated
    assert finished(resume_training(training_id)).spec.instances.flavor == "c1m2"


@pytest.mark.req("COM-04", "COM-05", "TPL-02")
@pytest.mark.parametrize(
    ("settings", "setting", "thing"),
    [
        ({"log_management": True}, "log_management", "log store"),
        ({"algorithm": "file://{gone}"}, "algorithm", "{gone}"),
        ({"entry_point": "gone.py"}, "entry_point", "gone.py"),
        ({"datasets": {"train": "file://{gone}"}}, "datasets.train", "{gone}"),
        ({"checkpoint_input": "nas://lab:/old"}, "checkpoint_input", "nas://lab:/old"),
        ({"output": "obs://gone.example/bucket/out"}, "output", "gone.example"),
        ({"checkpoint_output": "nas://lab:/new"}, "checkpoint_output", "nas://lab:/new"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_template_that_names_what_is_gone_says_so_before_anything_starts(
    code: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], setting: str, thing: str
) -> None:
    gone = str(code.parent / "gone")
    given = {name: _filled(value, gone) for name, value in settings.items()}
    create_template(template_of(code, **given))  # which of these will be there when it is used, nobody knows
    monkeypatch.setenv("MAKERFLOW_LOG_STORE", "off")

    try:
        training = create_training_from_template("nightly")
        assert isinstance(training, Training)
        assert training.status is TrainingStatus.CREATE_FAILED
        assert (training.plan, training.handle) == (None, None)
        told = training.reason
    except TemplateOutdatedError as error:
        told = str(error)

    assert f"The template 'nightly' cannot be used with its {setting}: " in told
    assert thing.format(gone=gone) in told
    assert "makerflow template change nightly" in told
    assert not (open_platform().settings.home / "runs").exists()


def _filled(value: Any, gone: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, gone) for name, item in value.items()}
    return value.format(gone=gone) if isinstance(value, str) else value


@pytest.mark.req("TPL-02")
@pytest.mark.parametrize(("setting", "kind"), [("image", "images"), ("flavor", "flavors")])
def test_an_image_or_a_flavor_that_the_catalogue_has_no_more_is_said_with_nothing_made(
    code: Path, home: Path, setting: str, kind: str
) -> None:
    home.mkdir()
    own = {"images": "{name: lab, python_path: /usr/bin/python3}", "flavors": "{name: lab, vcpus: 1, memory_mib: 512}"}
    file = home / "catalogue.yaml"
    file.write_text(f"{kind}:\n  - {own[kind]}\n")
    registry = open_platform().registry
    _read_catalogue_anew()
    create_template(template_of(code, **{setting: "lab"}))
    file.unlink()
    _read_catalogue_anew()

    with pytest.raises(TemplateOutdatedError, match=rf"'nightly' .* its {setting}: The {setting} 'lab'"):
        create_training_from_template("nightly")
    with pytest.raises(InvalidInputError, match="'none'") as beside:
        create_training_from_template("nightly", **{setting: "none"})
    assert not isinstance(beside.value, TemplateOutdatedError)
    assert registry.trainings.page().items == ()
    change_template("nightly", description="still to be mended")
    assert finished(create_training_from_template("nightly", **{setting: "python" if kind == "images" else "c1m2"}))


def _read_catalogue_anew() -> None:
    vars(open_platform()).pop("catalogue", None)


@pytest.mark.req("TPL-02")
def test_what_is_wrong_beside_a_template_is_not_laid_to_the_templates_charge(code: Path) -> None:
    create_template(template_of(code))
    training = create_training_from_template("nightly", datasets={"train": f"file://{code}/gone"})
    assert isinstance(training, Training)
    assert training.reason.startswith(f"file://{code}/gone cannot be read")


@pytest.mark.req("COM-04", "TPL-02")
def test_the_forms_of_the_workflow_ui_make_a_template_and_a_training_of_it(code: Path) -> None:
    form = TemplateSpec(name="nightly").model_dump(mode="json")
    form["algorithm"] |= {"path": f"file://{code}", "entry_point": "train.py"}
    run_flow(create_template_flow, **create_template_flow.validate_parameters({"spec": form}))
    blank = TemplatedTrainingSpec(name="t", template="nightly").model_dump(mode="json")
    parameters = create_training_from_template_flow.validate_parameters({"spec": blank})

    training = run_flow(create_training_from_template_flow, **parameters)

    assert finished(training).template is not None
    check_access.task.fn(training.id)  # which has nothing left to look at
