"""A tuning as an Optuna study: its trials from the registry's rows, with their curves."""

import warnings
from datetime import datetime

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from blocks.registry.database import Registry
from blocks.registry.records import Trial, Tuning
from blocks.search.base import PastTrial
from blocks.search.study import STATUS, frozen, new_study

TRAINING, REASON, OBJECTIVE = "makerflow:training", "makerflow:reason", "makerflow:objective"
"""User attributes of a trial, beside its status."""

TUNING = "makerflow:tuning"
"""A user attribute of a study, beside the status of its tuning."""

MOST_POINTS = 100_000
"""Of the curves of a study together: of 100 trials 512 each, of 5,000 trials 16."""
_MOST_OF_ONE = 1024
_LEAST_OF_ONE = 4


class TrialReader:
    """Reads the trials of a tuning as Optuna has them, again and again: what cannot have changed is not read twice.

    Of one thread at a time.

    Args:
        registry: Where they are.
        tuning: Whose they are.
    """

    def __init__(self, registry: Registry, tuning: Tuning) -> None:
        self._registry = registry
        self._tuning = tuning
        self._at_most = 0
        self._rows: list[Trial] = []
        self._over: dict[int, tuple[Trial, FrozenTrial]] = {}

    def read(self) -> list[FrozenTrial]:
        """Every trial, in the order and under the numbers that we give them.

        The intermediate values are the finite reports of the objective by the step that was printed, thinned so that
        they are bounded over all trials. One that was EARLY_STOPPED is pruned and keeps its objective as its value; one
        that is KILLED, FAILED or METRICS_UNAVAILABLE has failed, which in Optuna has no value.
        """
        self._rows = self._registry.tunings.trials(self._tuning.id)
        if (at_most := _points_of_each(len(self._rows))) != self._at_most:
            self._at_most, self._over = at_most, {}
        unread = [row.training_id for row in self._rows if not self._is_read(row)]
        metric = self._tuning.spec.objective.metric
        curves = dict(self._registry.metrics.finite_curves(unread, metric, at_most))
        return [
            self._over[row.number][1] if self._is_read(row) else self._keep(row, curves.get(row.training_id, {}))
            for row in self._rows
        ]

    def _is_read(self, row: Trial) -> bool:
        known = self._over.get(row.number)
        return known is not None and known[0] == row

    def _keep(self, row: Trial, curve: dict[int, float]) -> FrozenTrial:
        made = _trial(self._tuning, row, curve)
        if made.state.is_finished():
            self._over[row.number] = row, made
        return made


def study_of(registry: Registry, key: str) -> optuna.Study:
    """A plain Optuna study in memory that holds every trial of a tuning, as `TrialReader` reads them.

    It is the caller's own: nothing that is done with it changes the tuning. Optuna counts trials from 0, in the order
    of our numbers; the name of a trial's training, among its user attributes, ends in ours.

    Args:
        registry: Where the tuning is.
        key: Its id or its name.

    Raises:
        NotFoundError: There is no such tuning.
    """
    tuning = registry.tunings.get(key)
    study = empty_study(tuning, InMemoryStorage())
    study.add_trials(TrialReader(registry, tuning).read())
    return study


def empty_study(tuning: Tuning, storage: BaseStorage) -> optuna.Study:
    """The study of a tuning without its trials."""
    study = new_study(tuning.spec.objective.type, storage, name=tuning.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([tuning.spec.objective.metric])
    study.set_user_attr(TUNING, tuning.id)
    study.set_user_attr(STATUS, tuning.status.value)
    return study


def _trial(tuning: Tuning, row: Trial, curve: dict[int, float]) -> FrozenTrial:
    past = PastTrial(row.number, row.parameters, row.status, row.objective)
    made = frozen(tuning.spec.search.parameters, past)
    is_over, has_failed = made.state.is_finished(), made.state is TrialState.FAIL
    told = {REASON: row.reason or None, OBJECTIVE: row.objective if has_failed else None}
    return FrozenTrial(
        number=row.number,
        trial_id=row.number,
        state=made.state,
        value=row.objective if is_over and not has_failed else None,
        datetime_start=_local(row.created),
        datetime_complete=_local(row.changed) if is_over else None,
        params=made.params,
        distributions=made.distributions,
        user_attrs={TRAINING: f"{tuning.name}/{row.number}", STATUS: row.status.value}
        | {name: value for name, value in told.items() if value is not None},
        system_attrs={},
        intermediate_values=curve or made.intermediate_values,
    )


def _points_of_each(trials: int) -> int:
    """A power of two, so that it seldom changes."""
    most = max(MOST_POINTS // max(trials, 1), _LEAST_OF_ONE)
    return int(min(1 << most.bit_length() - 1, _MOST_OF_ONE))


def _local(at: datetime) -> datetime:
    """As Optuna writes times: this machine's, without a zone."""
    return at.astimezone().replace(tzinfo=None)
