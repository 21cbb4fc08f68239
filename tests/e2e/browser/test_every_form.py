"""Every form of a deployment, filled in and submitted as a person does it, in an order in which each has its needs."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments.catalogue import catalogue
from tests.e2e.browser.ui import Form, Ui


@dataclass(frozen=True)
class Walk:
    """A person's way through the forms.

    Attributes:
        ui: The tab.
        code: A folder with an entry point.
        completed: The flows whose form led to a run that completed.
    """

    ui: Ui
    code: Path
    completed: set[str] = field(default_factory=set)

    @contextmanager
    def form(self, flow: str, says: str | re.Pattern[str], becomes: str = "COMPLETED") -> Iterator[Form]:
        """The form of a flow, which the block fills in; submitted then, it leads to a run.

        Args:
            flow: The flow.
            says: What is told on the run's page.
            becomes: A state of the run.
        """
        form = self.ui.open_form(flow)
        yield form
        picture = f"every-{flow}-{becomes.lower()}"
        self.ui.picture(f"{picture}-form")
        run = form.submit(picture)
        self.ui.platform.wait_for_state(run, becomes)
        self.ui.open_run(run)
        self.ui.see(becomes.capitalize())
        self.ui.see(says)
        self.ui.picture(picture)
        if becomes == "COMPLETED":
            self.completed.add(flow)

    def delete(self, kind: str, name: str, label: str) -> None:
        """Delete what there is of this kind and name, which then is gone."""
        assert self.show(kind, name)["name"] == name
        with self.form(f"delete-{kind}", f"{kind} {name}: deleted") as form:
            form.fill(name, label)
        assert self.ui.platform.cli.json(kind, "show", name, code=2)["error"]["type"] == "NotFoundError"

    def show(self, kind: str, name: str) -> dict[str, Any]:
        return self.ui.platform.cli.json(kind, "show", name)

    def fill_algorithm(self, form: Form, *group: str, path: Path | None = None, go: str = "every-may-end") -> None:
        """Say what is run, and at which file it ends."""
        form.fill(f"file://{path or self.code}", *group, "Algorithm", "Algorithm path")
        form.fill("train.py", *group, "Algorithm", "Entry point")
        form.add(*group, "Algorithm", "Hyperparameters", Name="go", Value=str(self.code / go))


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.req("COM-04")
def test_every_form_can_be_filled_in_and_leads_to_a_run_that_completes(ui: Ui, code: Path) -> None:
    (code / "every-may-end").touch()
    walk = Walk(ui, code)
    make_experiments(walk)
    make_templates(walk)
    make_trainings(walk)
    interrupt_trainings(walk)
    make_tunings(walk)
    interrupt_a_tuning(walk)
    look_after_them(walk)
    delete_them(walk)
    assert walk.completed == {entry.flow.name for entry in catalogue()}


def make_experiments(walk: Walk) -> None:
    with walk.form("create-experiment", "experiment every: ACTIVE") as form:
        form.fill("every", "Experiment", "Name")
    with walk.form("change-experiment", "experiment every: changed") as form:
        form.fill("every", "Experiment")
        form.fill("Of every form.", "Description")
    assert walk.show("experiment", "every")["description"] == "Of every form."

    with (
        a_file_in_the_place_of(walk.ui.platform.home / "tensorboard"),
        walk.form("create-experiment", "TensorBoard cannot be made", "FAILED") as form,
    ):
        form.fill("every-second", "Experiment", "Name")
    assert walk.show("experiment", "every-second")["status"] == "CREATE FAILED"
    with walk.form("retry-experiment", "experiment every-second: ACTIVE") as form:
        form.fill("every-second", "Experiment")
    assert walk.show("experiment", "every-second")["status"] == "ACTIVE"


@contextmanager
def a_file_in_the_place_of(folder: Path) -> Iterator[None]:
    """Nothing can be made in the folder while the block lasts."""
    folder.mkdir(exist_ok=True)
    aside = folder.rename(folder.with_name(f"{folder.name}-aside"))
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def make_templates(walk: Walk) -> None:
    with walk.form("create-template", "template every: created") as form:
        form.fill("every", "Template", "Name")
        walk.fill_algorithm(form, "Template")
    with walk.form("change-template", "template every: changed") as form:
        form.fill("every", "Template", "Template")
        form.fill("Shared settings.", "Template", "Description")
        form.add("Template", "Algorithm", "Hyperparameters", Name="lr", Value="0.5")
    changed = walk.show("template", "every")
    assert changed["description"] == "Shared settings."
    assert values_of(changed)["lr"] == "0.5"

    with walk.form("copy-template", "template every-second: created") as form:
        form.fill("every", "Template", "Template to copy")
        form.fill("every-second", "Template", "Name")
        form.add("Template", "Algorithm", "Hyperparameters", Name="lr", Value="0.25")
    assert values_of(walk.show("template", "every-second")) == values_of(changed) | {"lr": "0.25"}


def make_trainings(walk: Walk) -> None:
    with walk.form("create-training", "step 5: loss=0.1") as form:
        form.fill("every", "Training", "Name")
        form.fill("every", "Training", "Experiment")
        walk.fill_algorithm(form, "Training")
        form.add("Training", "Algorithm", "Hyperparameters", Name="lr", Value="0.5")
    assert walk.show("training", "every")["experiment"]["name"] == "every"
    with walk.form("change-training", "training every: changed") as form:
        form.fill("every", "Training")
        form.fill("The first one.", "Description")
        form.add("Tags", Name="stage", Value="draft")
    changed = walk.show("training", "every")
    assert (changed["description"], changed["tags"]) == ("The first one.", {"stage": "draft"})

    with walk.form("copy-training", "training every-2: created") as form:
        form.fill("every", "Training to copy")
        form.add("Settings", Name="description", Value="The second one.")
    assert walk.show("training", "every-2")["description"] == "The second one."
    with walk.form("create-training-from-template", "step 5: loss=0.05") as form:
        form.fill("every-second", "Training", "Template")
        form.fill("every-third", "Training", "Name")
    made = walk.show("training", "every-third")
    assert (made["status"], made["template"]["name"], values_of(made)["lr"]) == ("COMPLETE", "every-second", "0.25")


def interrupt_trainings(walk: Walk) -> None:
    with walk.form("create-training-from-template", "1 worker started", "RUNNING") as form:
        form.fill("every", "Training", "Template")
        form.fill("every-stopped", "Training", "Name")
        form.add("Training", "Algorithm", "Hyperparameters", Name="go", Value=str(walk.code / "every-stopped-may-end"))
    walk.ui.platform.cli.wait_for_status("every-stopped", "RUNNING")
    with walk.form("stop-training", "STOPPED: stopped on request") as form:
        form.fill("every-stopped", "Training")
        form.fill("1", "Grace period (seconds)")
    assert walk.show("training", "every-stopped")["status"] == "STOPPED"

    later = walk.code.with_name("code-that-comes-later")
    with walk.form("create-training", "it does not exist", "FAILED") as form:
        form.fill("every-resumed", "Training", "Name")
        walk.fill_algorithm(form, "Training", path=later)
        form.add("Training", "Algorithm", "Hyperparameters", Name="lr", Value="0.5")
    assert walk.show("training", "every-resumed")["status"] == "CREATE FAILED"
    shutil.copytree(walk.code, later)
    with walk.form("resume-training", "step 5: loss=0.1") as form:
        form.fill("every-resumed", "Training")
    assert walk.show("training", "every-resumed")["status"] == "COMPLETE"


def make_tunings(walk: Walk) -> None:
    with walk.form("create-tuning", "trial 2 SUCCEEDED") as form:
        form.fill("every", "Tuning", "Name")
        form.fill("every", "Tuning", "Experiment")
        walk.fill_algorithm(form, "Tuning")
        fill_search(form)
    assert walk.show("tuning", "every")["completed"] == 2
    with walk.form("change-tuning", "tuning every: changed") as form:
        form.fill("every", "Tuning")
        form.fill("The first search.", "Description")
        form.add("Tags", Name="stage", Value="draft")
    changed = walk.show("tuning", "every")
    assert (changed["description"], changed["tags"]) == ("The first search.", {"stage": "draft"})

    with walk.form("copy-tuning", "trial 1 SUCCEEDED") as form:
        form.fill("every", "Tuning to copy")
        form.fill("every-second", "Name")
        form.add("Parameters", Name="lr", Min="2", Max="3")
        form.add("Settings", Name="max_trainings", Value="1")
    copied = walk.show("tuning", "every-second")
    assert (copied["completed"], copied["spec"]["search"]["parameters"][0]["min"]) == (1, "2")


def interrupt_a_tuning(walk: Walk) -> None:
    with walk.form("create-tuning-from-template", "RUNNING: ", "RUNNING") as form:
        form.fill("every", "Tuning", "Template")
        form.fill("every-stopped", "Tuning", "Name")
        form.add("Tuning", "Algorithm", "Hyperparameters", Name="go", Value=str(walk.code / "every-tuned-may-end"))
        fill_search(form)
    walk.ui.platform.cli.wait_for_status("every-stopped/1", "RUNNING")
    with walk.form("stop-tuning", "STOPPED: stopped on request") as form:
        form.fill("every-stopped", "Tuning")
    assert walk.show("tuning", "every-stopped")["status"] == "STOPPED"

    (walk.code / "every-tuned-may-end").touch()
    with walk.form("resume-tuning", "trial 3 SUCCEEDED") as form:
        form.fill("every-stopped", "Tuning")
        form.fill("3", "Maximum trainings")
    resumed = walk.show("tuning", "every-stopped")
    assert (resumed["status"], resumed["completed"]) == ("COMPLETE", 3)

    with walk.form("create-tuning-from-template", "trial 2 SUCCEEDED") as form:
        form.fill("every-second", "Tuning", "Template")
        form.fill("every-third", "Tuning", "Name")
        fill_search(form)
    made = walk.show("tuning", "every-third")
    assert (made["template"]["name"], made["completed"]) == ("every-second", 2)


def fill_search(form: Form) -> None:
    """Say what a tuning cannot do without."""
    form.add("Tuning", "Search", "Parameters", Name="lr", Min="0.1", Max="0.9")
    form.fill("loss", "Tuning", "Objective", "Objective metric")
    form.fill("2", "Tuning", "Trainings", "Maximum trainings")


def look_after_them(walk: Walk) -> None:
    scheduled_meanwhile = "another upkeep is at work"
    with walk.form("upkeep", re.compile(f"0 findings|{scheduled_meanwhile}")) as form:
        form.switch_on("Dry run")
    assert walk.ui.platform.cli.json("upkeep", "--dry-run")["findings"] == []


def delete_them(walk: Walk) -> None:
    walk.delete("tuning", "every-third", "Tuning")
    walk.delete("training", "every-third", "Training")
    walk.delete("template", "every-second", "Template")
    walk.delete("experiment", "every-second", "Experiment")


def values_of(row: dict[str, Any]) -> dict[str, str]:
    """The hyperparameters of a training or a template."""
    return {pair["name"]: pair["value"] for pair in row["spec"]["algorithm"]["hyperparameters"]}
