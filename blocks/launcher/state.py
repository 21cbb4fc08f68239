"""How far an agent has come, on disk, so that another one can go on where it died. Standard library only."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from blocks.cluster.layout import read_json, write_json
from blocks.cluster.outcome import Outcome


@dataclass(frozen=True)
class AgentState:
    """What must survive the agent.

    Attributes:
        phase: A `RunPhase`.
        detail: Why it waits, or how it ended.
        attempt: The last one that was started; 0 before the first.
        concluded: The last one whose end was dealt with.
        deadline: Seconds of the epoch; fixed when the first attempt starts.
        restarts_used: All restarts so far.
        out_of_memory_used: Those of them after an out-of-memory kill.
        outcome: Decided; only uploads and the last event remain.
        finished: It is over.
    """

    phase: str = "queued"
    detail: str = ""
    attempt: int = 0
    concluded: int = 0
    deadline: float | None = None
    restarts_used: int = 0
    out_of_memory_used: int = 0
    outcome: Outcome | None = None
    finished: Outcome | None = None

    @classmethod
    def load(cls, file: Path) -> "AgentState":
        """What an earlier agent left; the beginning, when there was none."""
        document = read_json(file) or {}
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        for name in ("outcome", "finished"):
            if known.get(name):
                known[name] = Outcome(known[name]["cause"], known[name]["message"])
        return cls(**known)

    def save(self, file: Path) -> None:
        """Put it in place of what is there. Before anything was started there is nothing that must survive a crash."""
        write_json(file, asdict(self), durable=self.attempt > 0 or self.outcome is not None)
