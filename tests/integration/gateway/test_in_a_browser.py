"""What a real browser does at the front door: its cookies, its headers for other sites, its policies."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page

from blocks.gateway.pages import onward_page
from tests.doubles.front_door import RunningFrontDoor
from tests.integration.gateway.conftest import ACCESS_STRING
from tests.integration.gateway.test_boards import write_scalar
from tests.waiting import wait_until

ATTACK = """async (door) => {
  await fetch(door + '/api/attacked-by-post', {method: 'POST', mode: 'no-cors', credentials: 'include'}).catch(() => 0);
  await fetch(door + '/api/attacked-by-get', {mode: 'no-cors', credentials: 'include'}).catch(() => 0);
  return await new Promise(done => {
    const socket = new WebSocket(door.replace('http', 'ws') + '/api/events/out');
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
  });
}"""
OWN = "async () => (await fetch('/api/own', {method: 'POST'})).status"
FROM_A_BOARD = """async () => {
  const framed = source => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.onload = async () => {
      try { done((await frame.contentWindow.fetch('/api/escaped-by-frame')).status); } catch { done('refused'); }
    };
    frame.src = source;
    document.body.append(frame);
  });
  const posted = target => {
    const form = document.createElement('form');
    Object.assign(form, {method: 'POST', action: '/api/escaped-by-form', target});
    document.body.append(form);
    form.submit();
  };
  const tried = {
    fetch: await fetch('/api/escaped-by-fetch', {method: 'POST'}).then(answer => answer.status, () => 'refused'),
    dots: await fetch('data/%2e%2e/../../../api/escaped-by-dots').then(answer => answer.status, () => 'refused'),
    other: await fetch('/tensorboard/exp-other/').then(answer => answer.status, () => 'refused'),
    window: window.open('/escaped-by-window') ? 'opened' : 'refused',
    socket: await new Promise(done => {
      const socket = new WebSocket(`ws://${location.host}/api/escaped-by-socket`);
      socket.onopen = () => done('open');
      socket.onerror = () => done('refused');
    }),
  };
  const below = ['data/runs', 'data/nothing', 'x%2fy', `?${'a'.repeat(40000)}`];
  for (const source of ['/', '/front-door/sign-in', 'about:blank', ...below])
    tried[source.slice(0, 20)] = await framed(source);
  navigator.sendBeacon('/api/escaped-by-beacon', 'x');
  new Image().src = '/api/escaped-by-image';
  posted('_self');
  posted('_blank');
  return tried;
}"""
ELSEWHERE = "() => fetch('https://elsewhere.example/').then(() => 'sent', () => 'refused')"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def other_site(directory: Path) -> Iterator[str]:
    """A web server that is not ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.req("EXP-03")
def test_a_person_signs_in_once_and_no_other_site_can_use_that(
    page: Page, guarded_door: RunningFrontDoor, tmp_path: Path
) -> None:
    door = guarded_door.url
    write_scalar(guarded_door.front_door.boards / "exp-seen" / "one", "loss", 0.5, 1)
    (tmp_path / "index.html").write_text(f'<a href="{door}/tensorboard/exp-seen/">board</a>')

    page.goto(f"{door}/api/where-i-was-going")
    page.fill("input[name=secret]", ACCESS_STRING)
    page.click("button")
    page.wait_for_url(f"{door}/api/where-i-was-going")
    assert page.evaluate("() => document.cookie") == ""
    assert page.evaluate(OWN) == 200

    with other_site(tmp_path) as elsewhere:
        page.goto(elsewhere)
        assert page.evaluate(ATTACK, door) == "refused"
        page.click("a")  # a link may lead here, and the one who signed in need not do so again
        page.wait_for_url(f"{door}/tensorboard/exp-seen/**")
        page.get_by_text("loss").first.wait_for()
    wait_until(lambda: "attacked-by-get 403" in guarded_door.log.read_text())
    assert "attacked-by-post 403" in guarded_door.log.read_text()


def test_pages_talk_to_nobody_else(page: Page, door: RunningFrontDoor) -> None:
    outside: list[str] = []
    page.context.on("requestfinished", lambda request: outside.append(request.url))
    page.goto(f"{door.url}/")
    assert page.evaluate(ELSEWHERE) == "refused"
    assert [url for url in outside if not url.startswith(door.url)] == []


def test_the_ticket_of_a_file_opens_the_board_once_and_is_not_left_in_the_address(
    page: Page, door: RunningFrontDoor, tmp_path: Path
) -> None:
    write_scalar(door.front_door.boards / "exp-seen" / "one", "loss", 0.5, 1)
    ticket = door.doorkeeper().new_ticket()
    (tmp_path / "open.html").write_text(onward_page(f"{door.url}/tensorboard/exp-seen/?ticket={ticket}"))
    page.goto((tmp_path / "open.html").as_uri())
    page.wait_for_url(f"{door.url}/tensorboard/exp-seen/**")
    page.get_by_text("loss").first.wait_for()
    assert "ticket" not in page.url
    page.context.clear_cookies()
    page.goto((tmp_path / "open.html").as_uri())
    page.get_by_label("Access string or token").wait_for()


@pytest.mark.req("EXP-03")
def test_a_script_in_a_board_reaches_nothing_but_its_board_which_shows_its_curves(
    page: Page, guarded_door: RunningFrontDoor
) -> None:
    for step in range(5):
        write_scalar(guarded_door.front_door.boards / "exp-hostile" / "one", "loss", 1 / 2**step, step)
    ticket = guarded_door.doorkeeper().new_ticket()
    page.goto(f"{guarded_door.url}/tensorboard/exp-hostile/?ticket={ticket}")
    page.get_by_text("0.0625", exact=True).first.wait_for()  # the table below the curve
    wait_until(lambda: bool(page.workers))  # which one of these draws

    assert set(page.evaluate(FROM_A_BOARD).values()) == {"refused"}
    assert page.evaluate("async () => (await fetch('data/runs')).status") == 200
    with guarded_door.client(headers=guarded_door.with_token) as client:
        client.get("/api/marker-of-the-end")
    wait_until(lambda: "marker-of-the-end" in guarded_door.log.read_text())
    assert "escaped" not in guarded_door.log.read_text()
    assert page.url.startswith(f"{guarded_door.url}/tensorboard/exp-hostile/")


def test_a_board_does_not_know_the_window_that_opened_it(page: Page, door: RunningFrontDoor) -> None:
    write_scalar(door.front_door.boards / "exp-seen" / "one", "loss", 0.5, 1)
    page.goto(f"{door.url}/?ticket={door.doorkeeper().new_ticket()}")
    with page.expect_popup() as opened:
        page.evaluate("() => { window.open('/tensorboard/exp-seen/') }")
    opened.value.get_by_text("loss").first.wait_for()
    assert opened.value.evaluate("() => window.opener") is None
