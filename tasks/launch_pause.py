"""How often a run that is lost is launched again."""

from time import monotonic

from blocks.domain.errors import PermanentError

FIRST_SECONDS = 2.0
MOST_SECONDS = 30.0
"""So long at most passes before a run that is still lost is launched again: each time its whole plan is sent."""


class LaunchPause:
    """Until a run that is lost again and again, as in a full quota, is launched the next time: each time twice as long.

    It ends when the run was found to be there.

    Attributes:
        refusal: Why the last launch was refused; None where it was not.
    """

    def __init__(self) -> None:
        self.refusal: PermanentError | None = None
        self.end()

    def end(self) -> None:
        """Launch it at once where it is lost the next time."""
        self._seconds, self._until = FIRST_SECONDS, 0.0
        self.refusal = None

    def begin(self) -> None:
        """Launch it no sooner than that."""
        self._until = monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, MOST_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether it may be launched again."""
        return monotonic() >= self._until
