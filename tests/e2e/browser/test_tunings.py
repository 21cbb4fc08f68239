"""A tuning in the workflow UI, from its form to its report."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.ui import PATIENCE_MILLISECONDS, Ui


@pytest.mark.req("COM-04", "TUN-01", "TUN-02", "TUN-03", "TUN-05", "TUN-07", "TUN-12")
def test_a_tuning_is_made_from_its_form_and_its_report_shows_its_trials(ui: Ui, code: Path) -> None:
    (code / "searched-may-end").touch()
    form = ui.open_form("create-tuning")
    ui.picture("tuning-form-empty")
    form.fill(f"file://{code}", "Algorithm", "Algorithm path")
    form.fill("train.py", "Algorithm", "Entry point")
    form.add("Algorithm", "Hyperparameters", Name="go", Value=str(code / "searched-may-end"))
    form.add("Search", "Parameters", Name="lr", Min="1", Max="9")
    form.choose("INT", "Search", "Parameters", "Type")
    form.fill("loss", "Objective", "Objective metric")
    form.fill("3", "Trainings", "Maximum trainings")
    form.fill("searched", "Tuning", "Name")
    ui.picture("tuning-form")
    run = form.submit("make-searched")
    ui.platform.wait_for_state(run, "COMPLETED")

    ui.open_run(run)
    ui.page.locator(".p-tabs").get_by_text("Task Runs", exact=True).click()
    ui.see("trial 3")
    ui.picture("tuning-run")
    ui.open_report(run, "3 of 3 have run")
    expect(ui.page.locator("tr", has_text="SUCCEEDED")).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    plots = ui.page.locator("img[src^='data:image/svg+xml']")
    expect(plots.first).to_be_visible()
    assert plots.evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    ui.picture("tuning-report")
    shown = ui.platform.cli.json("tuning", "show", "searched")
    assert (shown["status"], shown["completed"], shown["spec"]["search"]["strategy"]) == (
        "COMPLETE",
        3,
        "BAYESIAN_OPTIMIZATION",
    )
