"""Prefect servers of our own: on loopback, over the private home, ended with the process that started them."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from blocks.connections.settings import (
    ENVIRONMENT,
    Settings,
    make_home,
    own_account_at,
    own_api,
    prefect_environment,
    read_settings,
)
from blocks.domain.errors import WorkflowServerUnavailableError

ANSWER_SECONDS = 5
START_SECONDS = 120
STOP_SECONDS = 30
LOOK_SECONDS = 0.1
LOG_BYTES = 10 * 2**20
HOST = "127.0.0.1"
APPLICATION = "blocks.connections.workflow_server:create_app"
_PR_SET_PDEATHSIG = 1


def configured_api(settings: Settings) -> str:
    """The Prefect API to use: the configured one, else that of `makerflow up` on this home; empty for none."""
    return settings.prefect_api_url.rstrip("/") or own_api(settings)


def is_healthy(api: str, within_seconds: float = ANSWER_SECONDS) -> bool:
    """Whether a Prefect API answers in time; that of `makerflow up` on this home is asked with what it asks for."""
    # Before it is announced, its own parts know the account from their environment.
    account = own_account_at(read_settings(), api) or ENVIRONMENT.get("PREFECT_API_AUTH_STRING", "")
    user, _, password = account.partition(":")
    try:
        found = httpx.get(f"{api}/health", auth=(user, password) if user else None, timeout=within_seconds)
        return found.is_success
    except httpx.HTTPError:
        return False


def wait_for_api(api: str, seconds: float = START_SECONDS) -> None:
    """Wait for a Prefect API that is just starting or busy: Prefect's own client would look ever more rarely.

    Raises:
        WorkflowServerUnavailableError: It does not answer for long.
    """
    deadline = time.monotonic() + seconds
    while not is_healthy(api, max(LOOK_SECONDS, deadline - time.monotonic())):
        if time.monotonic() > deadline:
            raise WorkflowServerUnavailableError(api, f"it gave no answer within {seconds:.0f} s")
        time.sleep(LOOK_SECONDS)


@contextmanager
def prefect_server(settings: Settings, port: int = 0, *, account: str = "") -> Iterator[str]:
    """A Prefect server for as long as the block lasts.

    Args:
        settings: Whose home it works on.
        port: Where it listens on loopback; 0 for a free one.
        account: `user:password` that its clients must give; empty for what the environment says.

    Yields:
        The URL of its API.

    Raises:
        WorkflowServerUnavailableError: The port is in use, it ended at once, or it does not answer.
    """
    log = make_home(settings) / "logs" / "prefect-server.log"
    log.parent.mkdir(exist_ok=True, mode=0o700)
    make_prefect_database(settings)
    with _listening(port) as listener, log.open("ab") as output:
        if output.tell() > LOG_BYTES:
            output.truncate(0)
        port = int(listener.getsockname()[1])
        api = f"http://{HOST}:{port}/api"
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "uvicorn", "--factory", APPLICATION, "--fd", str(listener.fileno())],
            env={**ENVIRONMENT, **prefect_environment(settings), **_server_environment(api, port, account)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
            preexec_fn=_end_with_parent,
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


def make_prefect_database(settings: Settings) -> None:
    """Make the files of a Prefect server when they are not there, for their owner alone."""
    settings.prefect_home.mkdir(exist_ok=True, mode=0o700)
    settings.prefect_database.touch(0o600)
    settings.prefect_database.chmod(0o600)  # it holds Blocks beside the key that they are encrypted with


def _server_environment(api: str, port: int, account: str) -> dict[str, str]:
    access = {"PREFECT_SERVER_API_AUTH_STRING": account} if account else {}
    return access | {
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": "false",
        # Any web page open in the user's browser could drive the API otherwise.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def _wait_until_healthy(server: "subprocess.Popen[bytes]", api: str, log: str) -> None:
    def probe() -> None:
        if server.poll() is not None:
            raise WorkflowServerUnavailableError(api, f"it ended with code {server.returncode}; its log is {log}")
        httpx.get(f"{api}/health", timeout=5).raise_for_status()

    patience = Retrying(
        retry=retry_if_exception_type(httpx.HTTPError), stop=stop_after_delay(START_SECONDS), wait=wait_fixed(0.1)
    )
    try:
        patience(probe)
    except RetryError as error:
        reason = f"it gave no answer within {START_SECONDS} s; its log is {log}"
        raise WorkflowServerUnavailableError(api, reason) from error


def _listening(port: int) -> socket.socket:
    """The socket that a server inherits, so that nobody takes its port while it starts."""
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise WorkflowServerUnavailableError(f"{HOST}:{port}", f"the port is in use ({error})") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; an inherited socket gets it from nobody
    return listener


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
