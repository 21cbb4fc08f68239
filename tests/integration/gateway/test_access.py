"""Who may enter, through the real Envoy."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from blocks.gateway.access import SESSION_SECONDS
from blocks.gateway.files import access_command
from tests.doubles.front_door import RunningFrontDoor, running_front_door, started
from tests.integration.gateway.conftest import ACCESS_STRING
from tests.waiting import wait_until

ACCOUNT = ("ann", "a password")
PAGE = {"accept": "text/html"}


@pytest.mark.req("EXP-03")
@pytest.mark.parametrize("path", ["/tensorboard/exp-1/", "/tensorboard", "/tensorboard/exp-1/data/runs"])
def test_tensorboard_asks_who_is_there_even_where_everything_else_is_open(door: RunningFrontDoor, path: str) -> None:
    with door.client() as client:
        assert client.get("/").status_code == 200
        answer = client.get(path)
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers
        assert "up/token" not in answer.text
        assert client.get(path, headers=door.with_token).status_code == 404


def test_a_ticket_in_an_address_becomes_once_a_cookie_that_other_sites_do_not_get(door: RunningFrontDoor) -> None:
    ticket = door.doorkeeper().new_ticket()
    with door.client() as client, door.client() as later:
        first = client.get("/tensorboard/exp-1/", params={"ticket": ticket, "darkMode": "true"})
        assert first.status_code == 302
        assert first.headers["location"] == "/tensorboard/exp-1/?darkMode=true"
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert f"max-age={SESSION_SECONDS:.0f};" in cookie
        assert door.token.lower() not in cookie
        assert client.get("/tensorboard/exp-1/").status_code == 404
        assert later.get("/tensorboard/exp-1/", params={"ticket": ticket}).status_code == 401
        assert later.get("/tensorboard/exp-1/", params={"ticket": door.token}).status_code == 401


def test_a_session_ends_when_it_is_not_used_and_is_renewed_while_it_is(guarded_door: RunningFrontDoor) -> None:
    def answer(age_seconds: float) -> httpx.Response:
        then = guarded_door.doorkeeper(lambda: time.time() - age_seconds)
        with guarded_door.client(cookies={then.cookie: then.new_session()}) as client:
            return client.post("/api/x")

    young, old, expired = (answer(SESSION_SECONDS * share) for share in (0.4, 0.6, 1.1))
    assert (young.status_code, "set-cookie" in young.headers) == (200, False)
    assert (expired.status_code, "set-cookie" in expired.headers) == (401, False)
    assert old.status_code == 200
    renewed = old.headers["set-cookie"].partition(";")[0]
    with guarded_door.client(headers={"cookie": renewed}) as client:
        assert "set-cookie" not in client.post("/api/x").raise_for_status().headers


def test_a_link_of_another_site_is_opened_again_from_here_with_the_cookie(
    door: RunningFrontDoor,
) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    with door.client() as client:
        without = client.get("/tensorboard/exp-1/?a=1", headers=followed)
        assert without.status_code == 401
        assert 'content="0;url=/tensorboard/exp-1/?a=1"' in without.text
        ticket = {"ticket": door.doorkeeper().new_ticket()}
        with_ticket = client.get("/tensorboard/exp-1/", params=ticket, headers=followed)
        assert 'content="0;url=/tensorboard/exp-1/"' in with_ticket.text
        assert "set-cookie" in with_ticket.headers


def test_an_access_string_is_asked_of_everybody(guarded_door: RunningFrontDoor) -> None:
    with guarded_door.client() as client:
        for path in ("/", "/api/flows/filter", "/tensorboard/exp-1/", "/ui-settings"):
            assert client.post(path).status_code == 401, path
        assert client.get("/api/x", auth=ACCOUNT).status_code == 200
        assert client.get("/api/x", auth=("makerflow", guarded_door.token)).status_code == 200
        assert client.get("/api/x", headers=guarded_door.with_token).status_code == 200
        assert client.get("/api/x", auth=("ann", "a passwort")).status_code == 401
        assert client.get("/api/x", headers={"authorization": "Basic !"}).status_code == 401
        assert client.get("/api/x", headers={"authorization": "Digest x"}).status_code == 401
        assert client.get("/api/x", headers={"cookie": 'makerflow-0=x; "'}).status_code == 401


def test_a_person_signs_in_by_a_form_and_goes_on_where_the_way_was_to(guarded_door: RunningFrontDoor) -> None:
    with guarded_door.client() as client:
        page = client.get("/runs?state=failed&x=%3Cb%3E", headers=PAGE)
        assert page.status_code == 401
        assert 'name="next" value="/runs?state=failed&amp;x=%3Cb%3E"' in page.text
        wrong = client.post("/front-door/sign-in", data={"secret": "x", "next": "/runs"})
        assert wrong.status_code == 401
        entered = client.post("/front-door/sign-in", data={"secret": ACCESS_STRING, "next": "/runs?state=failed"})
        assert entered.status_code == 303
        assert entered.headers["location"] == "/runs?state=failed"
        assert client.get("/runs").status_code == 200
        assert client.post("/api/flows/filter").status_code == 200


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\nx", "", "javascript:1"]
)
def test_signing_in_leads_nowhere_else(guarded_door: RunningFrontDoor, target: str) -> None:
    with guarded_door.client() as client:
        entered = client.post("/front-door/sign-in", data={"secret": ACCESS_STRING, "next": target})
        assert entered.headers["location"] == "/"


def test_the_cookie_of_one_front_door_opens_no_other(door: RunningFrontDoor, guarded_door: RunningFrontDoor) -> None:
    with door.client() as client, guarded_door.client() as other:
        client.get("/", params={"ticket": door.doorkeeper().new_ticket()})
        other.cookies = client.cookies
        assert other.get("/").status_code == 401
        assert other.get("/", params={"ticket": door.doorkeeper().new_ticket()}).status_code == 401


def test_wrong_passwords_are_answered_slowly_and_in_bounded_number_while_the_token_always_opens(
    guarded_door: RunningFrontDoor,
) -> None:
    def guess(number: int) -> tuple[int, float]:
        began = time.monotonic()
        with guarded_door.client() as client:
            return client.get("/api/x", auth=("ann", str(number))).status_code, time.monotonic() - began

    with ThreadPoolExecutor(30) as threads, guarded_door.client() as client:
        guesses = [threads.submit(guess, number) for number in range(30)]
        assert client.get("/api/x", headers=guarded_door.with_token).status_code == 200
        answers = [guess.result() for guess in guesses]
    assert all(seconds >= 1 for code, seconds in answers if code == 401)
    assert {code for code, _ in answers} == {401, 429}


def test_nobody_enters_while_the_access_service_is_away(own_directory: Path) -> None:
    with running_front_door(own_directory) as door, door.client() as client:
        assert client.get("/").status_code == 200
        door.access.kill()
        door.access.wait()
        for path in ("/", "/api/x", "/tensorboard/exp-1/", "/front-door/health"):
            assert client.get(path, headers=door.with_token).status_code == 503, path
        with started(access_command(own_directory)):
            wait_until(lambda: client.get("/").status_code == 200)
