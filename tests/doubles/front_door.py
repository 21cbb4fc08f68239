"""A front door as `makerflow up` runs it: the real Envoy and access service, before a small server of the test's."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from blocks.gateway.access import Doorkeeper
from blocks.gateway.files import access_command, front_door_command, write_front_door
from blocks.gateway.front_door import FrontDoor, front_door_token
from tests.waiting import wait_until

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


@dataclass
class RunningFrontDoor:
    """One front door and how to talk to it."""

    front_door: FrontDoor
    log: Path
    access: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.front_door.port}"

    @property
    def token(self) -> str:
        return self.front_door.token.get_secret_value()

    @property
    def with_token(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def doorkeeper(self, clock: Callable[[], float] = time.time) -> Doorkeeper:
        """One that signs what this front door knows again."""
        return Doorkeeper(self.front_door.token, self.front_door.access_string, clock)

    def client(self, **settings: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **settings)

    def say(self, request: bytes, *, wait_seconds: float = 5) -> bytes:
        """The answer to bytes of any kind, until the connection ends, nothing comes, or it was refused."""
        with socket.create_connection(("127.0.0.1", self.front_door.port), timeout=wait_seconds) as connection:
            answer = b""
            try:
                connection.sendall(request)
                while not _is_refusal(answer) and (part := connection.recv(65_536)):
                    answer += part
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def admin(self, path: str) -> str:
        transport = httpx.HTTPTransport(uds=str(self.front_door.directory / "admin.sock"))
        with httpx.Client(transport=transport) as client:
            return client.get(f"http://admin{path}").text


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with what was asked; `/api/stream` never ends, `/api/slow` takes its time, WebSockets echo."""
    if scope["type"] == "websocket":
        await _echo_messages(receive, send)
        return
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
    seen = {"method": scope["method"], "path": scope["raw_path"].decode(), "headers": headers, "body": len(body)}
    seen["hosts"] = hosts
    answer = [(b"content-type", b"application/json"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": answer})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


async def _echo_messages(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@contextmanager
def serving(app: Application, path: Path) -> Iterator[None]:
    """Serve an ASGI application on a Unix socket."""
    patience = {"timeout_graceful_shutdown": 2}  # a stream whose reader is gone would be waited for without end
    config = uvicorn.Config(app, uds=str(path), log_level="error", lifespan="off", access_log=False, **patience)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)
        server.force_exit = True  # Python 3.11.2 can wait without end for a connection that has gone
        thread.join(10)


@contextmanager
def running_front_door(
    directory: Path, *, upstream: Application | None = echo, access_string: str = "", **settings: Any
) -> Iterator[RunningFrontDoor]:
    """A front door over `directory`; without `upstream`, whoever calls serves `prefect.sock`."""
    boards = directory / "tensorboard"
    boards.mkdir(exist_ok=True)
    front_door = FrontDoor(
        directory=directory,
        port=free_port(),
        token=front_door_token(directory),
        access_string=SecretStr(access_string),
        boards=boards,
        **settings,
    )
    write_front_door(front_door)
    log = directory / "front-door.log"
    with ExitStack() as stack:
        if upstream is not None:
            stack.enter_context(serving(upstream, directory / "prefect.sock"))
        output = stack.enter_context(log.open("ab"))
        access = stack.enter_context(started(access_command(directory), output))
        stack.enter_context(started(front_door_command(directory), output))
        running = RunningFrontDoor(front_door, log, access)
        with running.client() as client:
            wait_until(lambda: _answers(client))
        yield running


@contextmanager
def started(command: list[str], output: Any = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for as long as the block lasts."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on now: Envoy cannot say which one it was given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_refusal(answer: bytes) -> bool:
    """Whether all of a refusal is there; Envoy keeps its connection for a second."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next((int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")), 0)
    return head.startswith(b"HTTP/1.1 4") and b"\r\n\r\n" in answer and len(body) >= length


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/front-door/health").is_success
    except httpx.HTTPError:
        return False
