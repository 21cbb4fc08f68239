"""Where a run's state lies on one machine: what `LocalCluster`, the agent and the supervisors agree upon.

Standard library only: an agent that waits in the queue must stay small.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from blocks.files import replace_file


@dataclass(frozen=True)
class RunLayout:
    """The places of one run below the product's home."""

    home: Path
    run_id: str

    @classmethod
    def of(cls, run_directory: Path) -> "RunLayout":
        """The layout that `run_directory`, as made by `directory`, belongs to."""
        return cls(run_directory.parent.parent, run_directory.name)

    @cached_property
    def directory(self) -> Path:
        """All but the events: removed when the run is removed."""
        return self.home / "runs" / self.run_id

    @property
    def events(self) -> Path:
        """One JSON document a line; written by the agent alone."""
        return self.home / "events" / f"{self.run_id}.jsonl"

    @property
    def plan(self) -> Path:
        """The plan, as launched."""
        return self.directory / "plan.json"

    @property
    def summary(self) -> Path:
        """What the queue needs of the plan."""
        return self.directory / "run.json"

    @property
    def settings(self) -> Path:
        """What the agent needs to know of this installation."""
        return self.directory / "agent-settings.json"

    @property
    def lock(self) -> Path:
        """Locked by the agent for its whole life; holds its process id."""
        return self.directory / "agent.lock"

    @property
    def agent_log(self) -> Path:
        """What the agent itself prints."""
        return self.directory / "agent.log"

    @property
    def state(self) -> Path:
        """How far the agent has come."""
        return self.directory / "state.json"

    @property
    def stop(self) -> Path:
        """It exists when a stop was asked for."""
        return self.directory / "stop.json"

    @property
    def stop_report(self) -> Path:
        """What the agent ended when it was stopped: a `StopReport`."""
        return self.directory / "stop-report.json"

    @property
    def inputs(self) -> Path:
        """What was staged, once for all workers."""
        return self.directory / "inputs"

    def worker(self, rank: int) -> Path:
        """One worker's directory."""
        return self.directory / "workers" / str(rank)

    def output(self, rank: int) -> Path:
        """The segments of one worker's output."""
        return self.worker(rank) / "output"

    def exit_record(self, rank: int, attempt: int) -> Path:
        """How one worker's attempt ended."""
        return self.worker(rank) / f"exit-{attempt}.json"


def read_json(file: Path) -> dict[str, Any] | None:
    """The document in `file`; None when there is no such file, or one that was not `durable` and did not last."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    if not text.strip(b"\0"):
        return None
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"{file} does not hold a JSON object")
    return document


def write_json(file: Path, document: object, *, durable: bool = True) -> None:
    """Put `document` at `file` in one step: a reader sees the old one or the new one, also after a crash.

    Args:
        file: Its directory is there.
        document: Anything that JSON can say.
        durable: Also after a crash of the machine. What is of no use then takes a hundredth of the time without it.
    """
    replace_file(file, json.dumps(document), durable=durable)
