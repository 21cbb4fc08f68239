"""A training in the workflow UI, from its form to its curves, its end and its copy."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.ui import PATIENCE_MILLISECONDS, Form, Ui
from tests.processes import processes_of


def start_from_the_form(ui: Ui, code: Path, name: str) -> str:
    """Fill in the form of a training and submit it; the id of the flow run."""
    form = ui.open_form("create-training")
    fill_in(form, code, name)
    form.add("Input data", "Datasets", Name="table", Path=f"file://{code}")
    ui.picture(f"{name}-form")
    return form.submit(f"make-{name}")


def fill_in(form: Form, code: Path, name: str) -> None:
    """Say what is trained; it ends when there is a file."""
    form.fill(name, "Training", "Name")
    form.fill("seen", "Training", "Experiment")
    form.fill(f"file://{code}", "Algorithm", "Algorithm path")
    form.fill("train.py", "Algorithm", "Entry point")
    form.add("Algorithm", "Hyperparameters", Name="lr", Value="0.5")
    form.add("Algorithm", "Hyperparameters", Name="go", Value=str(code / f"{name}-may-end"))


@pytest.mark.req("COM-04", "COM-11", "TRN-01", "TRN-04", "TRN-06", "TRN-12", "TRN-14", "EXP-03", "ENV-02")
def test_a_training_is_seen_from_its_form_through_its_curves_to_its_end_and_its_copy(ui: Ui, code: Path) -> None:
    run = start_from_the_form(ui, code, "walk")
    training = ui.platform.cli.wait_for_status("walk", "RUNNING")

    ui.open_run(run)
    ui.see("Running")
    ui.picture("walk-running")
    ui.open_report(run, "| loss |")
    ui.see("--lr")
    expect(ui.page.locator("tr", has_text="loss").first).to_contain_text("0.1", timeout=PATIENCE_MILLISECONDS)
    plots = ui.page.locator("img[src^='data:image/svg+xml']")
    expect(plots.first).to_be_visible()
    assert plots.evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    ui.picture("walk-report")

    board = ui.platform.cli.json("experiment", "tensorboard", "seen", "--no-open")["url"]
    ui.page.goto(board)
    expect(ui.page.get_by_text("loss").first).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    expect(ui.page.get_by_text(training["name"]).first).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    assert "ticket" not in ui.page.url
    ui.picture("walk-tensorboard")

    (code / "walk-may-end").touch()
    ui.platform.wait_for_state(run, "COMPLETED")
    ui.open_run(run)
    ui.see("Completed")
    ui.picture("walk-completed")

    form = ui.open_form("copy-training")
    form.fill("walk", "Training to copy")
    form.fill("walk-again", "Name")
    form.add("Hyperparameters", Name="lr", Value="0.25")
    ui.picture("walk-again-form")
    ui.platform.wait_for_state(form.submit("copy-walk"), "COMPLETED")
    copied = ui.platform.cli.json("training", "show", "walk-again")["spec"]["algorithm"]
    assert {pair["name"]: pair["value"] for pair in copied["hyperparameters"]}["lr"] == "0.25"
    assert copied["path"] == f"file://{code}"


@pytest.mark.req("TRN-13", "COM-04")
def test_cancelling_in_the_ui_stops_a_training_and_leaves_no_worker(ui: Ui, code: Path) -> None:
    run = start_from_the_form(ui, code, "unwanted")
    training = ui.platform.cli.wait_for_status("unwanted", "RUNNING")
    ui.open_run(run)
    ui.see("Running")
    ui.page.get_by_role("button", name="Cancel", exact=True).click()
    ui.page.get_by_role("button", name="Confirm", exact=True).click()
    ui.platform.wait_for_state(run, "CANCELLED")
    ui.platform.cli.wait_for_status("unwanted", "STOPPED")
    assert processes_of(ui.platform.home / "runs" / training["id"]) == []
    ui.open_run(run)
    ui.see("Cancelled")
    ui.picture("unwanted-cancelled")


@pytest.mark.req("COM-04")
def test_a_schedule_of_the_uis_own_dialog_creates_trainings_each_of_a_name_of_its_own(ui: Ui, code: Path) -> None:
    (code / "nightly-may-end").touch()
    dialog = ui.open_schedule("create-training", every_seconds=10)
    fill_in(dialog, code, "nightly")
    ui.picture("schedule-dialog")
    dialog.save()
    ui.see("Every 10 seconds")

    cli = ui.platform.cli
    cli.wait_for_status("nightly", "COMPLETE")
    start_a_later_one(ui)
    cli.wait_for_status("nightly-2", "COMPLETE")
    [schedule] = cli.json("training", "schedules")["items"]
    assert (schedule["name"], schedule["every_seconds"]) == ("nightly", 10)
    cli.json("training", "unschedule", "nightly")
    ui.open(f"/deployments/deployment/{ui.platform.deployment('create-training')}")
    ui.picture("schedule-runs")
    assert cli.json("training", "schedules")["items"] == []


def start_a_later_one(ui: Ui) -> None:
    """Have the last flow run that is planned for schedules of trainings start now: of each minute one is started."""
    planned = {"deployments": {"name": {"any_": ["makerflow"]}}, "flows": {"name": {"any_": ["create-training"]}}}
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_DESC"}
    run = ui.platform.post("/flow_runs/filter", planned | scheduled)[0]
    ui.platform.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "SCHEDULED"}, "force": True})
