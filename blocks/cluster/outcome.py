"""How a run ended. Standard library only: an agent that waits in the queue must stay small."""

from dataclasses import dataclass

STOPPED = "It was stopped."
"""Of a run, or a worker, that somebody asked to end."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `cause` is an `ExitCause`, `message` one sentence for people."""

    cause: str
    message: str = ""
