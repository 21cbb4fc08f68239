"""What a check of the doctor finds."""

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        level: `problem` is what has to be mended; a `warning` may be meant.
        message: What was found.
        remedy: What to do; empty when it is fine.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """The same for JSON."""
        return asdict(self)


def fine(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """It may be meant."""
    return Finding(check, "warning", message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """It has to be mended."""
    return Finding(check, "problem", message, remedy)
