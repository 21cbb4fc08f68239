"""A tuning's optuna-dashboard, from the command that opens it to its plots, on the whole platform."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from blocks.registry.database import Registry, open_registry
from tests.doubles.tunings import make_tuning, run_trials
from tests.e2e.browser.ui import PATIENCE_MILLISECONDS, Ui
from tests.e2e.browser.whole_platform import WholePlatform


@pytest.fixture
def registry(platform: WholePlatform) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{platform.home / 'registry.db'}") as opened:
        yield opened


@pytest.mark.req("TUN-13", "TUN-16", "ENV-02")
def test_the_dashboard_of_a_tuning_opens_and_shows_its_thirty_trials(ui: Ui, registry: Registry) -> None:
    run_trials(registry, make_tuning(registry, "digits-tuning"), 30)
    ui.page.goto(ui.platform.cli.json("tuning", "dashboard", "digits-tuning", "--no-open")["url"])
    expect(ui.page.get_by_text("Best Trial (number=28)")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    assert "ticket" not in ui.page.url
    for title in ("History", "Hyperparameter Importance", "Timeline", "Intermediate values"):
        expect(ui.page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    expect(ui.page.get_by_text("trial #30", exact=True)).to_be_visible(timeout=PATIENCE_MILLISECONDS)  # of its curve
    expect(ui.page.locator(".barlayer .point")).to_have_count(34, timeout=PATIENCE_MILLISECONDS)  # times, importances
    ui.picture("tuning-dashboard")

    ui.page.locator("a[href$='/studies/0/trials']").click()
    expect(ui.page.get_by_text("30 Trials")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    ui.see("digits-tuning/1")
    ui.picture("tuning-dashboard-trials")
