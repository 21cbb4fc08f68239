"""`makerflow up --detach` on a home of its own, and what tests ask of its API."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.command_line import CommandLine
from tests.waiting import wait_for


@dataclass(frozen=True)
class WholePlatform:
    """A running platform.

    Attributes:
        directory: Of the tests; the home and the code are below it.
        url: Of its front door.
    """

    directory: Path
    url: str

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def cli(self) -> CommandLine:
        """The command on the same home."""
        return CommandLine(self.directory)

    def start(self) -> None:
        settings = {
            "PREFECT_LOGGING_TO_API_ENABLED": "true",  # as people have it, for whom a run's page tells what goes on
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",  # a new schedule is planned that soon, not in 60 s
        }
        CommandLine(self.directory, settings).json("up", "--detach", "--port", self.url.rpartition(":")[2])

    def end(self) -> None:
        self.cli.json("down")

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return httpx.post(f"{self.url}/api{path}", json=dict(body), timeout=30).raise_for_status().json()

    def deployment(self, flow: str) -> str:
        """The id of a flow's deployment."""
        return str(self.get(f"/deployments/name/{flow}/makerflow")["id"])

    def wait_for_state(self, flow_run: str, *states: str) -> str:
        """The state of a flow run, once it is one of these."""

        def look() -> str | None:
            state = self.get(f"/flow_runs/{flow_run}")["state"]["type"]
            return state if state in states else None

        return wait_for(look, f"the flow run {flow_run} to be {' or '.join(states)}")
