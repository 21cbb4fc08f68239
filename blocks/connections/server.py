"""Prefect servers of our own: on loopback, over the private home, ended with the process that started them."""

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from blocks.connections.settings import ENVIRONMENT, Settings, prefect_environment
from blocks.domain.errors import PermanentError

START_SECONDS = 120
STOP_SECONDS = 30
HOST = "127.0.0.1"
APPLICATION = "prefect.server.api.server:create_app"
_PR_SET_PDEATHSIG = 1


class ServerFailedError(PermanentError):
    """A Prefect server could not be started."""

    def __init__(self, address: str, why: str, log: str) -> None:
        self.address, self.log = address, log
        super().__init__(f"The Prefect server on {address} did not start: {why}. Its log is {log}.")


def configured_api(settings: Settings) -> str:
    """The Prefect API to use: the configured one, else that of `makerflow up` on this home; empty for none."""
    if settings.prefect_api_url:
        return settings.prefect_api_url.rstrip("/")
    with suppress(OSError):
        return settings.server_file.read_text().strip()
    return ""


def is_healthy(api: str) -> bool:
    """Whether a Prefect API answers."""
    try:
        return httpx.get(f"{api}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def announced(settings: Settings, api: str) -> Iterator[None]:
    """Let other commands on this home find the API for as long as the block lasts."""
    settings.server_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.server_file.write_text(api)
    try:
        yield
    finally:
        settings.server_file.unlink(missing_ok=True)


@contextmanager
def prefect_server(settings: Settings, port: int = 0, *, ui: bool = False) -> Iterator[str]:
    """A Prefect server for as long as the block lasts.

    Args:
        settings: Whose home it works on.
        port: Where it listens on loopback; 0 for a free one.
        ui: Whether it serves the workflow UI too.

    Yields:
        The URL of its API.

    Raises:
        ServerFailedError: It ended at once or does not answer.
    """
    port = _free_port(port)
    log = settings.home / "logs" / "prefect-server.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.prefect_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    api = f"http://{HOST}:{port}/api"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--factory", APPLICATION, "--host", HOST, "--port", str(port)],
            env={**ENVIRONMENT, **prefect_environment(settings), **_server_environment(api, port, ui)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    try:
        _wait_until_healthy(server, api, str(log))
        yield api
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        server.kill()
        server.wait()


def _server_environment(api: str, port: int, ui: bool) -> dict[str, str]:
    return {
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
        # Any web page open in the user's browser could drive the API otherwise.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def _wait_until_healthy(server: "subprocess.Popen[bytes]", api: str, log: str) -> None:
    def probe() -> None:
        if server.poll() is not None:
            raise ServerFailedError(api, f"it ended with code {server.returncode}", log)
        httpx.get(f"{api}/health", timeout=5).raise_for_status()

    patience = Retrying(
        retry=retry_if_exception_type(httpx.HTTPError), stop=stop_after_delay(START_SECONDS), wait=wait_fixed(0.1)
    )
    try:
        patience(probe)
    except RetryError as error:
        raise ServerFailedError(api, f"no answer within {START_SECONDS} s", log) from error


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerFailedError(f"{HOST}:{port}", f"the port is in use ({error})", "none") from error
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
