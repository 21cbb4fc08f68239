"""The pages of the workflow UI as a person uses them: by their labels."""

import re
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser.whole_platform import WholePlatform
from tests.waiting import wait_for

PATIENCE_MILLISECONDS = 45_000


@dataclass(frozen=True)
class Ui:
    """A browser's tab.

    Attributes:
        page: The tab.
        platform: Whose UI it shows.
        screenshots: Where pictures go; None for none, each takes a second of a processor.
    """

    page: Page
    platform: WholePlatform
    screenshots: Path | None

    def open(self, path: str) -> None:
        self.page.goto(f"{self.platform.url}{path}")

    def open_form(self, flow: str) -> "Form":
        """The form of a flow's deployment."""
        self.open(f"/deployments/deployment/{self.platform.deployment(flow)}/run")
        expect(self.page.get_by_text("Validate parameters")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        return Form(self, self.page.locator("form"))

    def open_schedule(self, flow: str, every_seconds: int) -> "Form":
        """The dialog that adds a schedule to a flow's deployment, with its interval and with the form of its runs."""
        self.open(f"/deployments/deployment/{self.platform.deployment(flow)}")
        self.page.get_by_role("button", name="Schedule", exact=True).click()
        dialog = self.page.locator(".p-modal__card")
        dialog.get_by_test_id("interval-select").press("ArrowDown")
        self.page.get_by_text("Seconds", exact=True).click()
        dialog.get_by_role("spinbutton").fill(str(every_seconds))
        dialog.get_by_role("button", name="Select parameters").press("ArrowDown")
        self.page.locator(".p-select-option").first.click()
        return Form(self, dialog)

    def open_run(self, flow_run: str) -> None:
        """The page of a flow run."""
        self.open(f"/runs/flow-run/{flow_run}")

    def open_report(self, flow_run: str, text: str) -> None:
        """The report of what a flow run made, once it says this; the page of an artifact does not follow it."""

        def look() -> str | None:
            found = self.platform.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}})
            return next((str(report["id"]) for report in found if text in str(report["data"])), None)

        self.open(f"/artifacts/artifact/{wait_for(look, f'a report with {text}')}")

    def see(self, text: str | re.Pattern[str]) -> Locator:
        """What shows this text, once it is to be seen."""
        found = self.page.get_by_text(text).first
        expect(found).to_be_visible(timeout=PATIENCE_MILLISECONDS)
        return found

    def picture(self, name: str) -> None:
        """Keep what is to be seen now, scrolled-away parts of a form included."""
        if self.screenshots is None:
            return
        self.screenshots.mkdir(parents=True, exist_ok=True)
        before = self.page.viewport_size
        height = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))")
        self.page.set_viewport_size({"width": 1280, "height": min(max(height, 900), 8000)})
        self.page.screenshot(path=self.screenshots / f"{name}.png")
        if before:
            self.page.set_viewport_size(before)


@dataclass(frozen=True)
class Form:
    """A deployment's form.

    Attributes:
        ui: The tab.
        around: What it stands in.
    """

    ui: Ui
    around: Locator

    def field(self, *labels: str, last: bool = False) -> Locator:
        """The field under these labels, from the outermost group inwards; the last or the first such item of a list."""
        found = self.around
        for depth, label in enumerate(labels, 1):
            header = self.ui.page.locator(
                ":scope > .p-label__header .schema-form-property__label",
                has_text=re.compile(rf"^{re.escape(label)}( \(Optional\))?$"),
            )
            fields = found.locator(".schema-form-property").filter(has=header)
            found = fields.last if last and depth == len(labels) else fields.first
        return found

    def fill(self, value: str, *labels: str) -> None:
        """Type a value."""
        self.field(*labels).locator("textarea, input").first.fill(value)

    def choose(self, option: str, *labels: str) -> None:
        """Choose from a menu."""
        self.field(*labels).locator(".p-select-button__control").press("ArrowDown")
        self.ui.page.get_by_text(option, exact=True).click()

    def switch_on(self, *labels: str) -> None:
        """Turn on what is off."""
        switch = self.field(*labels).get_by_role("switch")
        switch.click()
        expect(switch).to_be_checked()

    def add(self, *labels: str, **values: str) -> None:
        """Add an item to a list, with values by their labels."""
        box = self.field(*labels)
        items = box.locator(".schema-form-property-array-item")
        before = items.count()
        box.get_by_role("button", name="Add item").click()
        expect(items).to_have_count(before + 1)
        for label, value in values.items():
            self.field(*labels, label, last=True).locator("textarea, input").fill(value)

    def submit(self, name: str) -> str:
        """Submit it under this run name; the id of the flow run."""
        self.ui.page.locator(".flow-run-name-input input").fill(name)
        with self.ui.page.expect_response(re.compile("/create_flow_run$")) as created:
            self.ui.page.get_by_role("button", name="Submit").click()
        self.ui.page.wait_for_url(re.compile("tab=Runs"))
        return str(created.value.json()["id"])  # by its name it is not found any more once it has begun

    def save(self) -> None:
        """Save the dialog that it stands in."""
        self.around.get_by_role("button", name="Save").click()
        expect(self.around).to_have_count(0)
