"""How a workflow server is found, and what is said of one that does not answer, or late."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from blocks.connections.server import prefect_server
from blocks.connections.settings import read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from blocks.gateway.front_door import front_door_token, own_account
from blocks.locks import locked
from tasks import triggering
from tests.servers import free_port
from tests.unit.test_readme import PROGRAMS, ROOT

pytestmark = pytest.mark.req("COM-10")


@contextmanager
def server(answer: Callable[[], int]) -> Iterator[str]:
    """An API whose answers have this status; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer())
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """It says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{found.server_port}/api"
        finally:
            found.shutdown()


@contextmanager
def platform_at(api: str) -> Iterator[None]:
    """What `makerflow up` on this home keeps while it runs; an empty address while it starts."""
    file = read_settings().server_file
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file):
        file.write_text(api)
        yield


def refusal(ask: Callable[[SyncPrefectClient], object] = str) -> str:
    with pytest.raises(WorkflowServerUnavailableError) as caught, triggering.workflow_client() as client:
        ask(client)
    return str(caught.value)


def test_a_server_that_runs_and_does_not_answer_is_not_to_be_started_once_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggering, "PATIENCE_SECONDS", 1.0)
    done = threading.Event()
    with server(lambda: 200 if done.wait() else 500) as api, platform_at(api):
        told = refusal()
        done.set()
    assert "it runs, but gave no answer within 1 s" in told
    assert "makerflow up" not in told


def test_a_server_that_runs_is_waited_for_while_it_cannot_answer(home: Path) -> None:
    statuses = iter([503, 503])
    with server(lambda: next(statuses, 200)) as api, platform_at(api), triggering.workflow_client() as client:
        assert str(client.api_url).startswith(api)


def test_a_server_that_is_just_starting_is_said_to_do_so(home: Path) -> None:
    with platform_at(""):
        assert "it is just starting" in refusal()


def test_a_server_that_ended_without_a_word_is_said_not_to_run(home: Path) -> None:
    with platform_at(f"http://127.0.0.1:{free_port()}/api"):
        pass
    assert "it does not run; start it by `makerflow up --detach`" in refusal()


def test_a_server_that_goes_away_meanwhile_is_named(home: Path) -> None:
    with ExitStack() as running:
        running.enter_context(platform_at(running.enter_context(server(lambda: 200))))

        def ask(client: SyncPrefectClient) -> None:
            running.close()
            client.hello()

        assert "it no longer answers" in refusal(ask)


@pytest.mark.req("COM-04")
def test_the_program_of_the_readme_finds_the_platform_of_this_home_and_enters_it(home: Path) -> None:
    (home / "up").mkdir(parents=True)
    account = own_account(front_door_token(home / "up"))
    with (
        prefect_server(read_settings(), account=account) as api,
        platform_at(api),
        triggering.workflow_client() as client,
    ):
        client.create_deployment(client.create_flow_from_name("create-training"), triggering.DEPLOYMENT)
        environment = {"MAKERFLOW_HOME": str(home), "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", PROGRAMS["run_deployment"]], env=environment, cwd=home, check=True)
        [run] = client.read_flow_runs()
    assert run.parameters["spec"]["name"] == "third"
