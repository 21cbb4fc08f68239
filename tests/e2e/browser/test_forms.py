"""The forms of the deployments, as a person sees, fills and submits them."""

import pytest
from playwright.sync_api import expect

from deployments.catalogue import catalogue
from tests.e2e.browser.ui import Ui

ALL = tuple(entry.flow.name for entry in catalogue())
UNLIKE_EACH_OTHER = ("change-training", "copy-training", "create-template")


@pytest.mark.req("COM-04", "EXP-01")
def test_an_experiment_is_created_from_its_form(ui: Ui) -> None:
    form = ui.open_form("create-experiment")
    form.fill("from-the-form", "Experiment", "Name")
    form.fill("Made in a browser.", "Experiment", "Description")
    ui.picture("create-experiment-form")
    run = form.submit("make-experiment")
    ui.platform.wait_for_state(run, "COMPLETED")
    ui.open_run(run)
    ui.see("Completed")
    ui.picture("create-experiment-run")
    assert ui.platform.cli.json("experiment", "show", "from-the-form")["description"] == "Made in a browser."


@pytest.mark.req("COM-04")
def test_what_is_wrong_is_said_beside_the_form_and_nothing_starts(ui: Ui) -> None:
    form = ui.open_form("create-experiment")
    form.fill("no name!", "Experiment", "Name")
    ui.page.get_by_role("button", name="Submit").click()
    ui.see("Validation failed for field 'spec.name'")
    ui.picture("create-experiment-refused")


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("flows", [UNLIKE_EACH_OTHER, pytest.param(ALL, marks=pytest.mark.soak)], ids=["some", "all"])
def test_a_form_shows_fields_to_fill_in_and_no_bare_json(ui: Ui, flows: tuple[str, ...]) -> None:
    for flow in flows:
        ui.open_form(flow)
        expect(ui.page.locator(".cm-editor")).to_have_count(0)
        expect(ui.page.locator(".p-tabs", has_text="None")).to_have_count(0)
        expect(ui.page.get_by_role("button", name="Submit")).to_be_visible()
        ui.picture(f"{flow}-form")


@pytest.mark.req("COM-07")
def test_images_flavors_and_provided_algorithms_are_chosen_from_menus(ui: Ui) -> None:
    form = ui.open_form("create-training")
    for group, label, option in (
        ("Instances", "Image", "scikit-learn"),
        ("Instances", "Flavor", "c2m4"),
        ("Algorithm", "Provided algorithm", "tabular"),
    ):
        form.choose(option, group, label)
        expect(form.field(group, label)).to_contain_text(option)


@pytest.mark.req("COM-04")
def test_the_newer_ui_reaches_nobody_outside_either(ui: Ui) -> None:
    ui.open("/dashboard")
    ui.see("Switch to V2 UI").click()
    ui.page.wait_for_url("**/v2/**")
    ui.see("Deployments")
    for page in ("deployments", "runs", f"deployments/deployment/{ui.platform.deployment('create-training')}/run"):
        ui.open(f"/v2/{page}")
        ui.see("Deployments")
        ui.page.wait_for_load_state("networkidle")
    ui.picture("newer-ui")
