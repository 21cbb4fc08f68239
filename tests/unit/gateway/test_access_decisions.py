import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.gateway.access import (
    SESSION_SECONDS,
    TICKET_SECONDS,
    Doorkeeper,
    Request,
    Verdict,
    is_foreign,
    local_target,
    without_ticket,
)
from blocks.gateway.front_door import front_door_token, own_account, own_origins
from blocks.gateway.routes import Access

TOKEN = SecretStr("t" * 43)
OPEN = Doorkeeper(TOKEN, SecretStr(""))
GUARDED = Doorkeeper(TOKEN, SecretStr("ann:password"))
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def request(method: str = "GET", target: str = "/", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, target, {"host": "localhost:4200", **named})


def basic(account: str) -> str:
    return "Basic " + base64.b64encode(account.encode()).decode()


@pytest.mark.parametrize(
    ("door", "level", "verdict"),
    [
        (OPEN, Access.OPEN, Verdict.ENTER),
        (OPEN, Access.ACCOUNT, Verdict.ENTER),
        (OPEN, Access.TOKEN, Verdict.ANONYMOUS),
        (GUARDED, Access.OPEN, Verdict.ENTER),
        (GUARDED, Access.ACCOUNT, Verdict.ANONYMOUS),
        (GUARDED, Access.TOKEN, Verdict.ANONYMOUS),
    ],
)
def test_who_brings_nothing_enters_where_nothing_is_asked(door: Doorkeeper, level: Access, verdict: Verdict) -> None:
    assert door.decide(request(), level) is verdict


@pytest.mark.parametrize("level", [Access.ACCOUNT, Access.TOKEN])
@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"authorization": basic("ann:password")}, Verdict.ENTER),
        ({"authorization": basic(own_account(TOKEN))}, Verdict.ENTER),
        ({"authorization": f"bearer {TOKEN.get_secret_value()}"}, Verdict.ENTER),
        ({"cookie": f"other=1; {GUARDED.cookie}={GUARDED.new_session()}"}, Verdict.ENTER),
        ({"cookie": f'odd={{"x": 1}}; {GUARDED.cookie}={GUARDED.new_session()}'}, Verdict.ENTER),
        ({"cookie": f"{GUARDED.cookie}={OPEN.new_session()}"}, Verdict.ANONYMOUS),
        ({"cookie": f"{GUARDED.cookie}={GUARDED.new_ticket()}"}, Verdict.ANONYMOUS),
        ({"cookie": f"{GUARDED.cookie}={TOKEN.get_secret_value()}"}, Verdict.ANONYMOUS),
        ({"authorization": basic("ann:")}, Verdict.WRONG),
        ({"authorization": basic("")}, Verdict.WRONG),
        ({"authorization": "Basic"}, Verdict.WRONG),
        ({"authorization": "Bearer ann:password"}, Verdict.WRONG),
    ],
)
def test_only_what_is_right_opens(level: Access, headers: dict[str, str], verdict: Verdict) -> None:
    assert GUARDED.decide(request(**headers), level) is verdict


def test_an_empty_access_string_is_no_password() -> None:
    assert OPEN.decide(request(authorization=basic("")), Access.TOKEN) is Verdict.WRONG
    assert not OPEN.opens("")


def test_a_ticket_in_an_address_counts_where_a_page_is_opened_only() -> None:
    target = f"/x?ticket={OPEN.new_ticket()}"
    assert OPEN.decide(request("POST", target), Access.TOKEN) is Verdict.ANONYMOUS
    assert OPEN.decide(request("GET", target, upgrade="websocket"), Access.TOKEN) is Verdict.ANONYMOUS
    assert OPEN.decide(request("GET", target), Access.TOKEN) is Verdict.SIGNED_IN


@pytest.mark.parametrize(
    "ticket",
    ["wrong", "ann:password", TOKEN.get_secret_value(), GUARDED.new_session(), OPEN.new_ticket(), "1..", "é"],
    ids=["word", "access string", "token", "session", "another door's", "no signature", "not ASCII"],
)
def test_nothing_else_in_an_address_opens_anything(ticket: str) -> None:
    assert GUARDED.decide(request("GET", f"/x?ticket={ticket}"), Access.TOKEN) is Verdict.WRONG


class Clock:
    """Whose hands a test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


def test_a_ticket_opens_once_and_soon() -> None:
    clock = Clock()
    door = Doorkeeper(TOKEN, SecretStr(""), clock)
    first, second = door.new_ticket(), door.new_ticket()
    asked = request("GET", f"/x?ticket={first}")
    assert door.decide(asked, Access.TOKEN) is Verdict.SIGNED_IN
    assert door.decide(asked, Access.TOKEN) is Verdict.WRONG
    clock.now += TICKET_SECONDS + 1
    for ticket in (first, second):
        assert door.decide(request("GET", f"/x?ticket={ticket}"), Access.TOKEN) is Verdict.WRONG


def test_a_session_is_valid_for_its_time_and_is_renewed_when_half_of_it_is_over() -> None:
    clock = Clock()
    door = Doorkeeper(TOKEN, SecretStr(""), clock)
    visit = request(cookie=f"{door.cookie}={door.new_session()}")

    def found() -> tuple[Verdict, bool]:
        return door.decide(visit, Access.TOKEN), door.is_renewal_due(visit)

    assert found() == (Verdict.ENTER, False)
    clock.now += SESSION_SECONDS / 2 + 1
    assert found() == (Verdict.ENTER, True)
    clock.now += SESSION_SECONDS / 2
    assert found() == (Verdict.ANONYMOUS, False)


def test_a_session_whose_end_was_put_off_by_hand_is_none() -> None:
    end, rest = OPEN.new_session().split(".", 1)
    visit = request(cookie=f"{OPEN.cookie}={int(end) + 1}.{rest}")
    assert OPEN.decide(visit, Access.TOKEN) is Verdict.ANONYMOUS


def test_while_too_many_are_wrong_no_password_is_looked_at_but_what_nobody_can_guess_is() -> None:
    for account, verdict in (("ann:password", Verdict.LATER), (own_account(TOKEN), Verdict.ENTER)):
        asked = request(authorization=basic(account))
        assert GUARDED.decide(asked, Access.ACCOUNT, patient=False) is verdict


@given(st.text(max_size=60))
def test_no_text_opens_or_breaks_anything(text: str) -> None:
    session = {"cookie": f"{GUARDED.cookie}={text}"}
    for headers in ({"authorization": text}, {"authorization": f"Basic {text}"}, {"cookie": text}, session):
        verdict = GUARDED.decide(request(**headers), Access.ACCOUNT)
        assert verdict in (Verdict.WRONG, Verdict.ANONYMOUS)


@pytest.mark.parametrize(
    ("asked", "foreign"),
    [
        (request(), False),
        (request("POST"), False),
        (request("POST", origin="http://localhost:4200", sec_fetch_site="same-origin"), False),
        (request("POST", origin="https://LOCALHOST:4200"), False),
        (request("POST", origin="http://localhost:4201"), True),
        (request("POST", origin="null"), True),
        (request("POST", origin="file://"), True),
        (request("POST", origin="chrome-extension://localhost:4200"), True),
        (request("POST", sec_fetch_site="same-site"), True),
        (request("GET", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), True),
        (Request("GET", "/", {"host": "localhost", **LINK}), False),
        (Request("HEAD", "/", {"host": "localhost", **LINK}), False),
        (Request("POST", "/", {"host": "localhost", **LINK}), True),
        (Request("GET", "/", {"host": "localhost", **LINK, "upgrade": "websocket"}), True),
        (Request("GET", "/", {"host": "localhost", **LINK, "sec-fetch-dest": "iframe"}), True),
        (Request("GET", "/", {"host": "localhost:1,evil.example"}), True),
        (Request("GET", "/", {}), True),
    ],
)
def test_what_a_page_of_another_site_causes_is_foreign_except_a_followed_link(asked: Request, foreign: bool) -> None:
    assert is_foreign(asked) is foreign


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        ("https://ml.example.com", False),
        ("http://ml.example.com", False),
        ("https://ML.example.com:8443", True),
        ("https://gpu:8443", False),
        ("https://gpu", True),
        ("https://secure", False),
        ("https://ml.example.com.evil.example", True),
        ("ftp://ml.example.com", True),
        ("null", True),
    ],
)
def test_pages_of_a_named_host_are_ours_though_a_proxy_rewrites_the_host(origin: str, foreign: bool) -> None:
    named = own_origins(["ml.example.com", "gpu:8443", "secure:443"])
    assert is_foreign(request("POST", origin=origin, sec_fetch_site="same-origin"), named) is foreign
    assert is_foreign(request("POST", origin=origin, sec_fetch_site="cross-site"), named)


def test_a_followed_link_is_opened_again_from_here() -> None:
    asked = Request("GET", "/", {"host": "localhost", **LINK})
    assert GUARDED.decide(asked, Access.ACCOUNT) is Verdict.AGAIN


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        ("/x?ticket=a", "/x"),
        ("/x?a=1&ticket=a&b=%26", "/x?a=1&b=%26"),
        ("/x?ticket=a&ticket=b", "/x"),
        ("//evil.example?ticket=a", "/"),
    ],
)
def test_an_address_without_its_ticket_leads_to_the_same_place_here(target: str, rest: str) -> None:
    assert without_ticket(target) == rest


@given(st.text(max_size=40))
def test_a_target_is_always_a_path_of_ours(target: str) -> None:
    found = local_target(target)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert found.isprintable()


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    token = front_door_token(tmp_path)
    assert front_door_token(tmp_path) == token
    assert len(token.get_secret_value()) >= 40
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [b"", b"\n", b"\0" * 43])
def test_a_token_that_a_power_cut_has_emptied_is_made_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "token").write_bytes(left)
    token = front_door_token(tmp_path)
    assert len(token.get_secret_value()) >= 40
    assert (tmp_path / "token").read_text() == token.get_secret_value()
    assert front_door_token(tmp_path) == token


def test_a_token_that_somebody_has_written_is_kept(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of one's own choice\n")
    assert front_door_token(tmp_path).get_secret_value() == "of one's own choice"
