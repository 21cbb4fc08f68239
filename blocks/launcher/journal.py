"""What an agent tells the world (events) and its successor (state). Safe to use from several threads.

Standard library only.
"""

import json
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any

from blocks.cluster.events import EventLog
from blocks.cluster.layout import RunLayout
from blocks.cluster.outcome import Outcome
from blocks.launcher.state import AgentState


class Journal:
    """The events and the state of one run; only who holds the run's agent lock may have one."""

    def __init__(self, layout: RunLayout) -> None:
        self._layout = layout
        self._events = EventLog(layout.events, layout.run_id)
        self._lock = Lock()
        self.state = AgentState.load(layout.state)

    @property
    def is_over(self) -> bool:
        """Whether the last event of the run is written."""
        return self._events.last is not None and self._events.last["kind"] == "finished"

    def emit(self, kind: str, **fields: object) -> None:
        """Write one event. What a thread says after the end is not heard."""
        with self._lock:
            if not self.is_over:
                self._events.append(kind, **fields)

    def exited_ranks(self, attempt: int) -> set[int]:
        """The ranks whose end in this attempt has been told already, by an agent that died since."""
        told = map(json.loads, self._layout.events.read_bytes().splitlines())
        records = [event["record"] for event in told if event["kind"] == "exited"]
        return {record["rank"] for record in records if record["attempt"] == attempt}

    def change(self, **changes: Any) -> None:
        """Change the state, on disk too."""
        with self._lock:
            self.state = replace(self.state, **changes)
            self.state.save(self._layout.state)

    def finish(self, outcome: Outcome) -> None:
        """Write the last event; twice is fine."""
        self.emit("finished", cause=outcome.cause, message=outcome.message)
        last = self._events.last or {}
        said = Outcome(last["cause"], last["message"])
        with suppress(FileNotFoundError):  # of a run whose entry point removed its directory the events are left
            self.change(phase="finished", detail=said.message, finished=said)
