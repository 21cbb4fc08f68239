"""Requests as a proxy that speaks TLS passes them on, to the real Envoy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.gateway.front_door import own_hosts, own_origins
from tests.doubles.front_door import RunningFrontDoor, running_front_door
from tests.integration.gateway.conftest import ACCESS_STRING
from tests.integration.gateway.test_hostile_requests import HANDSHAKE, status

NAMES = ("ml.example.com", "gpu.example.com:8443")
ACCOUNT = ("ann", "a password")
LOOPBACK = ""
"""As the Host of a proxy that rewrites it."""


@pytest.fixture(scope="module")
def proxied_door(socket_directory: Path) -> Iterator[RunningFrontDoor]:
    """A front door that answers to the names of proxies."""
    directory = socket_directory / "proxied"
    directory.mkdir()
    known = {"hosts": own_hosts("127.0.0.1", NAMES), "origins": own_origins(NAMES)}
    with running_front_door(directory, access_string=ACCESS_STRING, **known) as running:
        yield running


def post(door: RunningFrontDoor, host: str, origin: str, path: str = "/api/x") -> tuple[int, str]:
    """What the form of a page gets."""
    headers = {"host": host or door.authority, "origin": origin, "sec-fetch-site": "same-origin"}
    with door.client(auth=ACCOUNT, headers=headers) as client:
        answer = client.post(path, data={"secret": ACCESS_STRING})
        return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("ml.example.com", "https://ml.example.com"),
        ("ml.example.com", "http://ml.example.com"),
        ("ML.Example.com", "https://ml.example.com"),
        ("ml.example.com:8443", "https://ml.example.com:8443"),
        ("gpu.example.com", "https://gpu.example.com:8443"),
        ("gpu.example.com:8443", "https://gpu.example.com:8443"),
        (LOOPBACK, "https://ml.example.com"),
        (LOOPBACK, "https://gpu.example.com:8443"),
    ],
)
def test_pages_that_a_proxy_shows_by_a_known_name_work(proxied_door: RunningFrontDoor, host: str, origin: str) -> None:
    assert post(proxied_door, host, origin)[0] == 200
    assert post(proxied_door, host, origin, "/front-door/sign-in")[0] == 303
    authorization = f"Authorization: Bearer {proxied_door.token}\r\nOrigin: {origin}\r\n"
    handshake = HANDSHAKE.format(host=host or proxied_door.authority, more=authorization)
    assert status(proxied_door.say(handshake.encode(), wait_seconds=0.5)) == 101


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("ml.example.com", "https://evil.example"),
        ("ml.example.com", "https://ml.example.com.evil.example"),
        ("ml.example.com", "https://ml.example.com:9"),
        ("ml.example.com", "https://ml.example.com@evil.example"),
        ("ml.example.com", "null"),
        (LOOPBACK, "https://gpu.example.com"),
        (LOOPBACK, "https://evil.example"),
    ],
)
def test_pages_of_other_sites_drive_nothing_through_it(proxied_door: RunningFrontDoor, host: str, origin: str) -> None:
    code, text = post(proxied_door, host, origin)
    assert (code, "MAKERFLOW_HOSTS" in text) == (403, True)
    assert post(proxied_door, host, origin, "/front-door/sign-in")[0] == 403


@pytest.mark.parametrize("host", ["gpu", "example.com", "x.ml.example.com", "ml.example.com.evil.example"])
def test_a_name_that_nobody_gave_is_refused_and_told_how_to_give_it(proxied_door: RunningFrontDoor, host: str) -> None:
    code, text = post(proxied_door, host, f"https://{host}")
    assert (code, "MAKERFLOW_HOSTS" in text) == (421, True)
