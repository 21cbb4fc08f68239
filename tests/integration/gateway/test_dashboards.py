"""Dashboards of tunings behind the front door: real ones, in a real browser."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.database import Registry, open_registry
from blocks.registry.records import Tuning
from tests.doubles.front_door import RunningFrontDoor, running_front_door
from tests.doubles.tunings import end_trial, make_tuning, run_trials, start_trial
from tests.integration.gateway.test_boards import boards_of, is_gone
from tests.waiting import wait_until

PROGRAM = (sys.executable, "-P", "-m", "blocks.studies")
PATIENCE_MILLISECONDS = 45_000
ESCAPES = """async () => ({
  api: await fetch('/api/escaped', {method: 'POST'}).then(answer => answer.status, () => 'refused'),
  other: await fetch('/dashboards/tun-other/').then(answer => answer.status, () => 'refused'),
  board: await fetch('/tensorboard/exp-1/').then(answer => answer.status, () => 'refused'),
  elsewhere: await fetch('https://elsewhere.example/').then(answer => answer.status, () => 'refused'),
  window: window.open('/escaped-by-window') ? 'opened' : 'refused',
})"""


@pytest.fixture(scope="module")
def registry(socket_directory: Path) -> Iterator[Registry]:
    """The registry of a home, which the dashboards' programs are told of as `makerflow up` does."""
    home = socket_directory / "home"
    home.mkdir()
    with open_registry(f"sqlite:///{home / 'registry.db'}") as opened, pytest.MonkeyPatch.context() as environment:
        environment.setenv("MAKERFLOW_HOME", str(home))
        yield opened


@pytest.fixture(scope="module")
def learned(registry: Registry) -> Tuning:
    tuning = make_tuning(registry, "digits-tuning")
    run_trials(registry, tuning, 30)
    return tuning


@pytest.fixture(scope="module")
def dashboard_door(registry: Registry, socket_directory: Path) -> Iterator[RunningFrontDoor]:
    directory = socket_directory / "dash"
    directory.mkdir()
    with running_front_door(directory, dashboard_program=PROGRAM, most_boards=2) as running:
        yield running


def path_of(tuning: Tuning) -> str:
    return f"/dashboards/{tuning.id}/"


@pytest.mark.req("TUN-13", "ENV-02")
def test_the_first_visit_starts_the_tunings_dashboard_where_no_other_account_reaches_it(
    dashboard_door: RunningFrontDoor, learned: Tuning
) -> None:
    with dashboard_door.client(headers=dashboard_door.with_token, follow_redirects=True) as client:
        page = client.get(path_of(learned))
        assert page.url.path == f"{path_of(learned)}dashboard/studies/0"
        assert f'src="{path_of(learned)}static/bundle.js"' in page.text
        [policy] = page.headers.get_list("content-security-policy")
        assert f"{dashboard_door.authority}{path_of(learned)}" in policy
        assert "'self'" not in policy.replace("frame-ancestors 'self'", "")
        assert len(client.get(f"{path_of(learned)}api/studies/0?after=0").json()["trials"]) == 30
    [board] = boards_of(dashboard_door)
    assert [c for c in board.net_connections("tcp") if c.status == psutil.CONN_LISTEN] == []


@pytest.mark.req("TUN-13")
@pytest.mark.parametrize("rest", ["", "api/studies", "csv/0", "static/bundle.js", "dashboard/studies/0"])
def test_it_opens_for_who_brings_the_token_alone(dashboard_door: RunningFrontDoor, learned: Tuning, rest: str) -> None:
    with dashboard_door.client() as client:
        assert client.get(f"{path_of(learned)}{rest}").status_code == 401
        assert client.get(f"{path_of(learned)}{rest}", headers={"authorization": "Bearer wrong"}).status_code == 401
        foreign = {"sec-fetch-site": "cross-site", **dashboard_door.with_token}
        assert client.get(f"{path_of(learned)}{rest}", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "id",
    ["tun-none", "tun-", "nothing", "TUN-1", "exp-1", "tun-1%20", "tun-;id", "tun-$(id)", "tun-'--", f"tun-{'a' * 37}"],
)
def test_what_is_no_tuning_has_no_dashboard_and_the_page_says_so(dashboard_door: RunningFrontDoor, id: str) -> None:
    with dashboard_door.client(headers=dashboard_door.with_token) as client:
        for rest in ("/", "", "/api/studies"):
            answer = client.get(f"/dashboards/{id}{rest}")
            assert answer.status_code == 404
            assert "There is no tuning tun-none, or it was deleted." in answer.text or id != "tun-none"
            assert "No such dashboard" in answer.text


@pytest.mark.parametrize("path", ["/dashboards", "/dashboards/", "/dashboards/..", "/dashboards/../tensorboard/exp-1/"])
def test_paths_beside_the_dashboards_lead_to_none(dashboard_door: RunningFrontDoor, path: str) -> None:
    before = boards_of(dashboard_door)
    answer = dashboard_door.say(
        f"GET {path} HTTP/1.1\r\nHost: {dashboard_door.authority}\r\nConnection: close\r\n"
        f"Authorization: Bearer {dashboard_door.token}\r\n\r\n".encode()
    )
    assert answer.split(b" ", 2)[1] in (b"404", b"200")  # 200: of the UI, to which dots lead
    assert set(boards_of(dashboard_door)) <= set(before)


def test_one_that_died_is_started_anew_and_one_of_a_deleted_tuning_ends(
    dashboard_door: RunningFrontDoor, registry: Registry
) -> None:
    tuning = make_tuning(registry, "short-lived")
    with dashboard_door.client(headers=dashboard_door.with_token, follow_redirects=True) as client:
        assert client.get(path_of(tuning)).is_success
        [process] = [one for one in boards_of(dashboard_door) if tuning.id in one.cmdline()]
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: client.get(path_of(tuning)).is_success)
        for status in (TuningStatus.COMPLETE_IN_PROGRESS, TuningStatus.COMPLETE):
            registry.tunings.move(tuning.id, status)
        registry.tunings.delete(tuning.id)
        wait_until(lambda: client.get(f"{path_of(tuning)}api/studies").status_code == 404)
        wait_until(lambda: "No such dashboard" in client.get(path_of(tuning)).text)
    assert [one for one in boards_of(dashboard_door) if tuning.id in one.cmdline()] == []


def test_it_ends_when_nobody_uses_it_and_with_the_service(
    own_directory: Path, registry: Registry, learned: Tuning
) -> None:
    with running_front_door(own_directory, dashboard_program=PROGRAM, idle_seconds=3) as door:
        with door.client(headers=door.with_token, follow_redirects=True) as client:
            assert client.get(path_of(learned)).is_success
            started = boards_of(door)
            assert started
            wait_until(lambda: all(map(is_gone, started)))
            assert client.get(path_of(learned)).is_success
            started = boards_of(door)
            assert started
        door.access.kill()
        wait_until(lambda: all(map(is_gone, started)))


def test_where_no_program_is_named_there_are_none(door: RunningFrontDoor, learned: Tuning) -> None:
    with door.client(headers=door.with_token) as client:
        assert client.get(path_of(learned)).status_code == 404


@pytest.mark.req("TUN-13")
def test_a_browser_shows_thirty_trials_follows_them_and_reaches_nothing_else(
    page: Page, dashboard_door: RunningFrontDoor, registry: Registry, tmp_path: Path
) -> None:
    tuning = make_tuning(registry, "seen")
    run_trials(registry, tuning, 30)
    requested: list[str] = []
    page.context.on("request", lambda request: requested.append(request.url))
    page.goto(f"{dashboard_door.url}{path_of(tuning)}?ticket={dashboard_door.doorkeeper().new_ticket()}")
    expect(page.get_by_text("Best Trial")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    assert "ticket" not in page.url

    page.goto(f"{dashboard_door.url}{path_of(tuning)}dashboard/studies/0/trials")
    expect(page.get_by_text("30 Trials")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    expect(page.get_by_text("Trial 1 (trial_id=1)")).to_be_visible()
    expect(page.get_by_text("digits-tuning/1")).to_have_count(0)
    expect(page.get_by_text("seen/1", exact=False).first).to_be_visible()
    end_trial(registry, start_trial(registry, tuning, 31, {1: 0.5}), TrialStatus.SUCCEEDED, 0.5)
    expect(page.get_by_text("31 Trials")).to_be_visible(timeout=PATIENCE_MILLISECONDS)  # of its own accord

    rows = registry.tunings.trials(tuning.id)
    page.goto(f"{dashboard_door.url}{path_of(tuning)}dashboard/")
    page.get_by_role("button", name="delete study").click(timeout=PATIENCE_MILLISECONDS)
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("Failed to delete study")).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    page.screenshot(path=Path(os.environ.get("MAKERFLOW_TEST_SCREENSHOTS") or tmp_path) / "dashboard-refuses.png")
    assert registry.tunings.trials(tuning.id) == rows

    assert {url for url in requested if not url.startswith(f"{dashboard_door.url}{path_of(tuning)}")} == set()
    assert set(page.evaluate(ESCAPES).values()) == {"refused"}
    assert "escaped" not in dashboard_door.log.read_text()
