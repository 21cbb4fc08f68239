"""Studies of trials that no registry has."""

from collections.abc import Iterable, Sequence

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage

from blocks.domain.parameters import ParameterSpec
from blocks.domain.tunings import ObjectiveType
from blocks.search.base import PastTrial
from blocks.search.study import frozen, new_study


def study_with(
    type: ObjectiveType,
    parameters: Sequence[ParameterSpec],
    past: Iterable[PastTrial],
    sampler: BaseSampler | None = None,
) -> optuna.Study:
    """A study that holds these trials."""
    study = new_study(type, InMemoryStorage(), sampler=sampler)
    study.add_trials([frozen(parameters, trial) for trial in past])
    return study
