"""`makerflow up --detach` on a home of its own, and what tests ask of its API."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.command_line import wait_for

START_SECONDS = 150


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

    def start(self) -> None:
        port = self.url.rpartition(":")[2]
        self.command("up", "--detach", "--port", port)

    def end(self) -> None:
        self.command("down")

    def command(self, *arguments: str) -> dict[str, Any]:
        """The document of a command."""
        source = {"PYTHONPATH": str(Path(__file__).parents[3]), "MAKERFLOW_HOME": str(self.home)}
        command = [sys.executable, "-m", "deployments.cli", *arguments, "--json"]
        ended = subprocess.run(
            command, env={**os.environ, **source}, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        document = json.loads(ended.stdout)
        assert isinstance(document, dict)
        return document

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return httpx.post(f"{self.url}/api{path}", json=dict(body), timeout=30).raise_for_status().json()

    def deployment(self, flow: str) -> str:
        """The id of a flow's deployment."""
        return str(self.get(f"/deployments/name/{flow}/makerflow")["id"])

    def flow_run(self, name: str) -> str:
        """The id of the one flow run of that name, once it is there."""

        def look() -> str | None:
            found = self.post("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
            return str(found[0]["id"]) if found else None

        return wait_for(look, f"a flow run called {name}")

    def wait_for_state(self, flow_run: str, *states: str) -> str:
        """The state of a flow run, once it is one of these."""

        def look() -> str | None:
            state = self.get(f"/flow_runs/{flow_run}")["state"]["type"]
            return state if state in states else None

        return wait_for(look, f"the flow run {flow_run} to be {' or '.join(states)}")

    def wait_for_status(self, name: str, *statuses: str) -> dict[str, Any]:
        """The training, once it has one of these statuses."""

        def look() -> dict[str, Any] | None:
            rows = self.command("training", "list")["items"]
            return next((row for row in rows if row["name"] == name and row["status"] in statuses), None)

        return wait_for(look, f"{name} to be {' or '.join(statuses)}")
