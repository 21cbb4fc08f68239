"""Whole runs on this machine, launched as a flow launches them: what the agent's tests drive."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.cluster import agent_lock
from blocks.cluster.layout import RunLayout
from blocks.cluster.local import LocalCluster
from blocks.domain.paths import StoragePath
from blocks.domain.plan import (
    InputKind,
    OutputKind,
    PlannedInput,
    PlannedOutput,
    Resources,
    RunHandle,
    RunImage,
    RunPlan,
)
from blocks.storage.open import open_storage
from tests.waiting import wait_until

SECONDS = 60
ENTRY_POINT = "train.py"


@dataclass
class LaunchedRun:
    """A run that was launched."""

    home: Path
    cluster: LocalCluster
    plan: RunPlan

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.home, self.plan.run_id)

    @property
    def handle(self) -> RunHandle:
        return RunHandle(cluster="local", run_id=self.plan.run_id)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The run's events so far."""
        text = self.layout.events.read_bytes() if self.layout.events.exists() else b""
        events = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
        return [event for event in events if kind in ("", event["kind"])]

    def finished(self) -> dict[str, Any]:
        """Wait for the last event and for the agent's end."""
        self._wait(lambda: bool(self.events("finished")))
        self._wait(lambda: not agent_lock.is_held(self.layout.lock))
        events = self.events()
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert [event["kind"] for event in events].count("finished") == 1
        assert events[-1]["kind"] == "finished"
        return events[-1]

    def wait_for(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for an event; the last one of its kind."""
        self._wait(lambda: len(self.events(kind)) >= count)
        return self.events(kind)[-1]

    def wait_for_output(self, text: str, rank: int = 0) -> None:
        self._wait(lambda: text in self.output(rank))

    def output(self, rank: int = 0) -> str:
        """All that one worker has printed."""
        files = sorted(self.layout.output(rank).glob("*.log"))
        return b"".join(file.read_bytes() for file in files).decode(errors="replace")

    def records(self) -> dict[int, dict[str, Any]]:
        """The last exit record of each rank."""
        return {event["record"]["rank"]: event["record"] for event in self.events("exited")}

    def uploaded(self, kind: OutputKind) -> dict[str, bytes]:
        """What lies at an output's place."""
        place = self.home.parent / "out" / kind
        return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}

    def _wait(self, condition: Any) -> None:
        try:
            wait_until(condition, seconds=SECONDS)
        except AssertionError:
            log = self.layout.agent_log
            raise AssertionError(f"{self.events()}\n{log.read_text() if log.exists() else 'no log'}") from None


def write_files(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """A directory with these files."""
    for name, content in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def planned(kind: InputKind, directory: Path, name: str = "") -> PlannedInput:
    """An input as a flow plans it."""
    path = StoragePath.parse(f"file://{directory}")
    return PlannedInput(kind=kind, name=name, path=str(path), objects=tuple(open_storage(path).plan(path)))


def make_plan(directory: Path, program: str, *, files: Mapping[str, str] = {}, **facts: Any) -> RunPlan:
    """A plan that runs `program`, and uploads all that there is to upload below `directory/out`."""
    run_id = facts.setdefault("run_id", f"run-{time.time_ns()}")
    source = write_files(directory / "code" / run_id, {ENTRY_POINT: program, **files})
    outputs = tuple(PlannedOutput(kind=kind, path=f"file://{directory}/out/{kind}") for kind in OutputKind)
    usual: dict[str, Any] = {
        "created": datetime.now(UTC),
        "workers": 1,
        "resources": Resources(vcpus=1, memory_mib=256),
        "image": RunImage(name="this", python=sys.executable),
        "entry_point": ENTRY_POINT,
        "inputs": (planned(InputKind.SOURCE, source), *facts.pop("inputs", ())),
        "outputs": outputs,
        "storage_mib": 1000,
        "time_limit_seconds": 120,
        "stop_grace_seconds": 5,
    }
    return RunPlan(**{**usual, **facts})
