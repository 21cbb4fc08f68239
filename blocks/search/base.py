"""The interface of a search: what is to be tried next."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.domain.lifecycle import TrialStatus


@dataclass(frozen=True)
class PastTrial:
    """What a search knows of a trial.

    Attributes:
        number: From 1; 0 for one of another tuning that is learned from.
        parameters: Its point: names and values, as the entry point gets them.
        status: One that is CREATED or RUNNING keeps others away from its point.
        objective: Its objective value; None when it has none.
        curve: Finite reports of the objective, by their number from 1; may be thinned, but for the last one.
    """

    number: int
    parameters: Mapping[str, str]
    status: TrialStatus
    objective: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)


class Search(ABC):
    """Suggests points, one trial after the other.

    What it suggests depends on the number of the trial and on what it was told before, in the order of their numbers;
    on nothing else. So a search that is made anew and told the same goes on as if it had never been away.
    """

    @abstractmethod
    def suggest(self, number: int) -> dict[str, str] | None:
        """The point of trial `number` (from 1), as the entry point gets it; None when the space is exhausted.

        From now on the trial counts as running. Of one that it was told of it is the point that it has.
        """

    @abstractmethod
    def tell(self, trial: PastTrial) -> None:
        """Take note of a trial that runs or is over; twice is fine, the last word counts."""
