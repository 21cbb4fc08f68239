"""What the trials of a tuning have given so far, and what follows from that: the next point, the median, the end."""

from collections.abc import Mapping, Sequence

from blocks.connections.platform import Platform
from blocks.domain.lifecycle import TrialStatus
from blocks.domain.trials import Ending, History, MedianRule, ending, tally
from blocks.domain.tunings import StoppingRule
from blocks.registry.records import Trial, Tuning
from blocks.search.base import PastTrial, Search
from blocks.search.open import open_search
from tasks.trial_following import history_of, reports_of


class TrialResults:
    """Made from what the registry has, and told of each trial that comes to its end.

    Args:
        platform: Where the registry is.
        tuning: Whose trials they are.
        trials: Those that there are.
    """

    def __init__(self, platform: Platform, tuning: Tuning, trials: Sequence[Trial]) -> None:
        self._platform, self._tuning = platform, tuning
        self._objective = tuning.spec.objective
        self._search: Search = open_search(tuning.spec, tuning.random_state)
        self._median = MedianRule(tuning.spec.early_stopping, self._objective.type)
        self._tally = tally(self._objective.type, ((trial.number, trial.status, trial.objective) for trial in trials))
        for learned in tuning.learned:
            self._search.tell(PastTrial(0, learned.parameters, learned.status, learned.objective))
        for trial in trials:
            self._recall(trial)

    @property
    def best(self) -> float | None:
        """The best objective value so far."""
        return self._tally.best

    @property
    def left(self) -> int:
        """How many trials may still come to their end."""
        return self._tuning.spec.max_trainings - self._tally.finished

    def suggest(self, number: int) -> dict[str, str] | None:
        """The point of the next trial; None when every point of the space has been tried."""
        return self._search.suggest(number)

    def doubt(self, running: History) -> str:
        """Why a trial that has just reported is to be ended early; empty when it is not."""
        return self._median.stops(running)

    def is_best(self, value: float | None) -> bool:
        """Whether an objective value is better than all before."""
        return value is not None and (self.best is None or self._objective.type.is_better(value, self.best))

    def take(self, trial: Trial, history: History) -> None:
        """Take note of a trial that is over.

        Args:
            trial: What became of it.
            history: Its reports of the objective.
        """
        self._tell(trial, history.reports)
        if trial.status is TrialStatus.SUCCEEDED:
            self._median.add(history)
        self._tally = self._tally.with_finished(self._objective.type, trial.number, trial.status, trial.objective)

    def ending(self, reported: Mapping[int, float], *, overdue: bool, exhausted: bool) -> Ending | None:
        """Whether the tuning ends now, as in `blocks.domain.trials.ending`."""
        return ending(self._tuning.spec, self._tally, reported=reported, overdue=overdue, exhausted=exhausted)

    def _recall(self, trial: Trial) -> None:
        early = trial.status is TrialStatus.EARLY_STOPPED
        self._tell(trial, reports_of(self._platform, self._tuning, trial) if early else 0)
        if trial.status is TrialStatus.SUCCEEDED and self._tuning.spec.early_stopping.rule is not StoppingRule.NONE:
            self._median.add(history_of(self._platform, self._tuning, trial))

    def _tell(self, trial: Trial, reports: int) -> None:
        curve: dict[int, float] = {}
        if trial.status is TrialStatus.EARLY_STOPPED and trial.objective is not None:
            curve = {max(reports, 1): trial.objective}
        self._search.tell(PastTrial(trial.number, trial.parameters, trial.status, trial.objective, curve))
