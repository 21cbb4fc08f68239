"""Routes that change while they are used, and connections that stay: the real Envoy."""

import asyncio
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from blocks.gateway.files import front_door_command, write_front_door, write_routes
from blocks.gateway.routes import Access, Route
from tests.doubles.front_door import (
    Application,
    Receive,
    RunningFrontDoor,
    Send,
    echo,
    running_front_door,
    serving,
)
from tests.waiting import wait_until


def answering(name: str) -> Application:
    """An application that says its name."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.005)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": name.encode()})

    return app


def busy(times: int) -> Application:
    """An application that is busy so many times, then says what it was sent."""
    left = times

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        nonlocal left
        left -= 1
        body = (await receive()).get("body", b"")
        await send({"type": "http.response.start", "status": 503 if left >= 0 else 201, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.req("COM-04")
def test_a_form_that_meets_a_busy_database_is_sent_again(own_directory: Path) -> None:
    with running_front_door(own_directory, upstream=busy(12)) as door, door.client() as client:
        answer = client.post("/api/deployments/1/create_flow_run", json={"name": "first"})
        assert (answer.status_code, answer.json()) == (201, {"name": "first"})


def test_what_does_not_say_that_it_undid_all_is_asked_once(own_directory: Path) -> None:
    with running_front_door(own_directory, upstream=busy(1)) as door, door.client() as client:
        assert [client.post("/page").status_code for _ in range(2)] == [503, 201]


def test_twenty_swaps_under_load_fail_no_request(own_directory: Path) -> None:
    sockets = {name: own_directory / f"{name}.sock" for name in ("one", "two")}
    with (
        serving(answering("one"), sockets["one"]),
        serving(answering("two"), sockets["two"]),
        running_front_door(own_directory) as door,
        door.client() as client,
    ):

        def lead_to(name: str) -> None:
            route = Route(name="swapped", prefix="/swapped", socket=sockets[name], access=Access.OPEN)
            write_routes(door.front_door, [route])

        lead_to("one")
        wait_until(lambda: client.get("/swapped").text == "one")
        ended, answers = threading.Event(), []

        def load() -> None:
            with door.client() as own:
                while not ended.is_set():
                    answers.append(own.post("/swapped", content=b"x" * 1000).status_code)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                name = ("two", "one")[number % 2]
                lead_to(name)
                wait_until(lambda name=name: client.get("/swapped").text == name)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert len(answers) > 100
    assert set(answers) == {200}


def test_a_websocket_carries_messages_both_ways_and_its_handshake_is_checked(
    door: RunningFrontDoor, guarded_door: RunningFrontDoor
) -> None:
    with connect(f"ws://{door.authority}/api/events/out") as connection:
        for text in ("a", "b" * 100_000):
            connection.send(text)
            assert connection.recv(10) == text
    headers = {"authorization": f"Bearer {guarded_door.token}"}
    with connect(f"ws://{guarded_door.authority}/api/logs/out", additional_headers=headers) as connection:
        connection.send("c")
        assert connection.recv(10) == "c"


def test_what_answers_may_come_later_and_go_away(own_directory: Path) -> None:
    with running_front_door(own_directory, upstream=None) as door, door.client() as client:
        assert client.get("/page").status_code == 503
        with serving(echo, own_directory / "prefect.sock"):
            wait_until(lambda: client.get("/api/x").is_success)
            assert json.loads(client.get("/api/x").text)["path"] == "/api/x"
        away = client.get("/api/x", timeout=60)  # it is asked for a while, for what answers may be starting again
        assert (away.status_code, away.headers["content-type"]) == (503, "application/json")
        assert "`makerflow status` shows how the platform is" in away.json()["detail"]
        page = client.get("/page")
        assert (page.status_code, page.headers["x-frame-options"], page.text.startswith("What")) == (503, "DENY", True)


def test_a_second_front_door_does_not_share_the_port_of_the_first(door: RunningFrontDoor, own_directory: Path) -> None:
    second = door.front_door.model_copy(update={"directory": own_directory})
    write_front_door(second)
    ended = subprocess.run(front_door_command(own_directory), capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert "Address already in use" in ended.stderr
