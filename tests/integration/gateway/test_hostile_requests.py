"""What comes to the front door from those who mean harm, byte by byte, against the real Envoy."""

import time

import pytest

from blocks.gateway.envoy_listener import ACCESS_HEADER, MOST_BODY_BYTES
from tests.doubles.front_door import RunningFrontDoor

HANDSHAKE = (
    "GET /api/events/out HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


def status(answer: bytes) -> int:
    """The first answer's status; 0 when the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def request(door: RunningFrontDoor, line: str = "GET / HTTP/1.1", *headers: str, body: str = "") -> bytes:
    lines = [line, f"Host: {door.authority}", "Connection: close", *headers]
    return door.say(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"), wait_seconds=1)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -5",),
        ("Content-Length: 5, 6",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer_Encoding: chunked", "Content_Length: 5"),
    ],
)
def test_a_body_of_two_lengths_is_refused_so_that_no_second_request_hides_in_it(
    door: RunningFrontDoor, headers: tuple[str, ...]
) -> None:
    hidden = f"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: {door.authority}\r\n\r\n"
    answer = request(door, "POST /api/x HTTP/1.1", *headers, body=hidden)
    assert status(answer) in (0, 400, 501)
    assert b"/hidden" not in answer


@pytest.mark.parametrize(
    "line",
    [
        "GET /tensorboard%2fx HTTP/1.1",
        "GET /api%2F..%2Ftensorboard HTTP/1.1",
        "GET /a%5Cb HTTP/1.1",
        "GET /a%00b HTTP/1.1",
        "GET /api/x#/tensorboard HTTP/1.1",
        "GET http://evil.example/ HTTP/1.1",
        "CONNECT evil.example:443 HTTP/1.1",
        "GET / HTTP/9.9",
        "PRI * HTTP/2.0",
        "nonsense",
        "",
    ],
)
def test_a_request_line_of_two_meanings_is_refused(door: RunningFrontDoor, line: str) -> None:
    assert status(request(door, line)) in (0, 400, 403, 404, 421, 426)


@pytest.mark.parametrize(
    "path", ["/x/../tensorboard/exp-1", "//tensorboard//exp-1", "/./tensorboard/exp-1", "/%74ensorboard/exp-1"]
)
def test_no_spelling_of_a_path_leads_around_the_check(door: RunningFrontDoor, path: str) -> None:
    assert status(request(door, f"GET {path} HTTP/1.1")) == 401


def test_what_a_client_says_of_the_level_is_overwritten(door: RunningFrontDoor) -> None:
    assert status(request(door, "GET /tensorboard/exp-1 HTTP/1.1", f"{ACCESS_HEADER}: open")) == 401
    assert ACCESS_HEADER.encode() not in request(door, "GET /x HTTP/1.1", f"{ACCESS_HEADER}: open")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4200",
        "localhost.evil.example",
        "localhost.",
        "127.0.0.1.nip.io",
        "169.254.169.254",
        "[::2]",
    ],
)
def test_a_name_that_is_not_ours_is_refused_so_that_no_name_of_a_page_elsewhere_leads_here(
    door: RunningFrontDoor, host: str
) -> None:
    answer = door.say(f"GET /api/admin/version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) == 421


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1, evil.example",
        "127.0.0.1:1,evil.example",
        "127.0.0.1:evil",
        "127.0.0.1/evil.example",
        "a b",
        "user@127.0.0.1",
    ],
)
def test_a_host_of_two_meanings_is_refused(door: RunningFrontDoor, host: str) -> None:
    answer = door.say(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) in (0, 400, 403, 404, 421)


def test_two_hosts_are_refused(door: RunningFrontDoor) -> None:
    assert status(request(door, "GET / HTTP/1.1", "Host: evil.example")) in (400, 403, 421)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_every_name_of_this_machine_is_ours_through_any_forwarded_port(door: RunningFrontDoor, name: str) -> None:
    assert status(door.say(f"GET / HTTP/1.1\r\nHost: {name}:8080\r\nConnection: close\r\n\r\n".encode())) == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "sign",
    [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:9",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
def test_a_page_of_another_site_or_port_drives_nothing(door: RunningFrontDoor, method: str, sign: str) -> None:
    answer = request(door, f"{method} /api/deployments/1/pause_deployment HTTP/1.1", sign, "Content-Length: 0")
    assert status(answer) == 403


def test_a_form_of_another_site_that_opens_in_the_window_drives_nothing(door: RunningFrontDoor) -> None:
    signs = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Content-Length: 0")
    assert status(request(door, "POST /api/x HTTP/1.1", *signs)) == 403
    assert status(request(door, "GET / HTTP/1.1", *signs[:3])) == 200
    assert status(request(door, "GET / HTTP/1.1", *signs[:2], "Sec-Fetch-Dest: iframe")) == 403


def test_a_websocket_opens_for_our_pages_and_programs_and_for_no_other_site(door: RunningFrontDoor) -> None:
    def handshake(more: str) -> int:
        return status(door.say(HANDSHAKE.format(host=door.authority, more=more).encode(), wait_seconds=0.5))

    assert handshake("") == 101
    assert handshake(f"Origin: http://{door.authority}\r\n") == 101
    assert handshake("Origin: http://evil.example\r\n") == 403
    assert handshake("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n") == 403


def test_a_websocket_opens_where_the_route_allows_it_only(door: RunningFrontDoor) -> None:
    answer = door.say(HANDSHAKE.replace("/api/", "/").format(host=door.authority, more="").encode(), wait_seconds=0.5)
    assert status(answer) in (200, 403)


def test_headers_are_bounded_in_size_and_number(door: RunningFrontDoor) -> None:
    assert status(request(door, "GET / HTTP/1.1", "X-Long: " + "a" * 40_000)) == 431
    assert status(request(door, "GET / HTTP/1.1", *(f"X-{n}: 1" for n in range(100)))) == 431
    assert status(request(door, f"GET /{'a' * 40_000} HTTP/1.1")) in (414, 431)


def test_a_body_is_bounded_whether_it_says_its_length_or_not(door: RunningFrontDoor) -> None:
    with door.client() as client:
        assert client.post("/api/x", content=b"a" * 1_000_000).json()["body"] == 1_000_000
        assert client.post("/api/x", content=iter([b"a" * 65_536] * 10)).json()["body"] == 655_360
    declared = request(door, "POST /api/x HTTP/1.1", f"Content-Length: {MOST_BODY_BYTES + 1}", body="a" * 100_000)
    assert status(declared) in (0, 413)
    endless = "10000\r\n" + "a" * 65_536 + "\r\n"
    chunked = request(
        door, "POST /api/x HTTP/1.1", "Transfer-Encoding: chunked", body=endless * (MOST_BODY_BYTES // 65_536 + 2)
    )
    assert status(chunked) in (0, 413)


def test_bytes_that_mean_nothing_end_the_connection_and_nothing_else(door: RunningFrontDoor) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 4096,
        b"GET / HTTP/1.1\nHost: x\n\n" * 50,
    ):
        assert status(door.say(nonsense, wait_seconds=0.5)) in (0, 400, 421)
    with door.client() as client:
        assert client.get("/").is_success


def test_secrets_stay_out_of_the_log_and_of_what_answers(door: RunningFrontDoor) -> None:
    secret = "no-ticket-but-private"
    with door.client() as client:
        client.get("/x", params={"ticket": secret, "marker": "m"})
        seen = client.get("/x", headers={"authorization": "Bearer " + secret}).json()["headers"]
    assert "authorization" not in seen
    deadline = time.monotonic() + 15
    while "GET /x 200" not in door.log.read_text():  # Envoy writes its log in batches
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert secret not in door.log.read_text()


def test_answers_say_that_other_sites_may_not_read_frame_or_guess_them(door: RunningFrontDoor) -> None:
    with door.client() as client:
        for path in ("/", "/api/x", "/front-door/sign-in"):
            headers = client.get(path).headers
            assert "access-control-allow-origin" not in headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("GET /tensorboard/exp-1/ HTTP/1.1", 401),
        ("GET /tensorboard/exp-1/x%2fy HTTP/1.1", 400),
        (f"GET /tensorboard/exp-1/?{'a' * 40_000} HTTP/1.1", 431),
    ],
)
def test_what_the_front_door_answers_itself_may_not_be_framed_by_a_board(
    door: RunningFrontDoor, line: str, code: int
) -> None:
    answer = request(door, line)
    assert status(answer) == code
    assert b"x-frame-options: DENY\r\n" in answer


def test_the_administration_is_for_the_owner_of_the_files_alone(door: RunningFrontDoor) -> None:
    directory = door.front_door.directory
    assert (directory / "admin.sock").stat().st_mode & 0o777 == 0o600
    for file in (directory / "token", directory / "front-door.json", *(directory / "envoy").iterdir()):
        assert file.stat().st_mode & 0o777 == 0o600, file
