"""How a run ended. Standard library only: an agent that waits in the queue must stay small."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `cause` is an `ExitCause`, `message` one sentence for people."""

    cause: str
    message: str = ""
