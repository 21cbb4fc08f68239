"""Optuna's words for ours: distributions of parameters, and trials of a study in memory."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.parameters import RANGES, ParameterSpec, ParameterType
from blocks.domain.tunings import ObjectiveType
from blocks.search.base import PastTrial

_STATES = {
    TrialStatus.CREATED: TrialState.RUNNING,
    TrialStatus.RUNNING: TrialState.RUNNING,
    TrialStatus.SUCCEEDED: TrialState.COMPLETE,
    TrialStatus.EARLY_STOPPED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
    TrialStatus.METRICS_UNAVAILABLE: TrialState.FAIL,
    TrialStatus.KILLED: TrialState.FAIL,
}
STATUS = "makerflow:status"
"""A user attribute of every trial: our own word for how it ended."""


def distribution(parameter: ParameterSpec) -> BaseDistribution:
    """What Optuna samples a parameter from."""
    if parameter.type not in RANGES:
        return CategoricalDistribution(parameter.values)
    step = None if parameter.log else parameter.distance
    high = _last_on_step(parameter.low, parameter.high, step) if step else parameter.high
    if parameter.type is ParameterType.INT:
        return IntDistribution(int(parameter.low), int(high), log=parameter.log, step=int(step or 1))
    return FloatDistribution(
        float(parameter.low), float(high), log=parameter.log, step=None if step is None else float(step)
    )


def value_of(parameter: ParameterSpec, text: str) -> Any:
    """A value as Optuna has it."""
    if parameter.type not in RANGES:
        return next((value for value in parameter.values if _same(parameter, value, text)), text)
    return int(Decimal(text)) if parameter.type is ParameterType.INT else float(text)


def text_of(parameter: ParameterSpec, value: Any) -> str:
    """A value of Optuna's as the entry point gets it; one on a step as exact as the step is."""
    if parameter.type is ParameterType.DOUBLE and not parameter.log and (step := parameter.distance):
        return parameter.point(round((Decimal(value) - parameter.low) / step))
    return parameter.text(value) if isinstance(value, float) else str(value)


def new_study(
    type: ObjectiveType, storage: BaseStorage, *, sampler: BaseSampler | None = None, name: str = "tuning"
) -> optuna.Study:
    """An empty study, made without a word on the terminal."""
    logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)
    direction = StudyDirection.MINIMIZE if type is ObjectiveType.MINIMIZE else StudyDirection.MAXIMIZE
    storage.create_new_study([direction], name)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def frozen(parameters: Sequence[ParameterSpec], trial: PastTrial) -> FrozenTrial:
    """A trial as Optuna has it; one that has failed keeps its point but has no value."""
    state = _STATES[trial.status]
    pruned = dict(trial.curve) or ({1: trial.objective} if trial.objective is not None else {})
    return create_trial(
        state=state,
        value=trial.objective if state is TrialState.COMPLETE else None,
        params={p.name: value_of(p, trial.parameters[p.name]) for p in parameters},
        distributions={p.name: distribution(p) for p in parameters},
        intermediate_values=pruned if state is TrialState.PRUNED else dict(trial.curve),
        user_attrs={STATUS: trial.status.value},
    )


def as_study(
    name: str, type: ObjectiveType, parameters: Sequence[ParameterSpec], past: Iterable[PastTrial]
) -> optuna.Study:
    """A plain Optuna study in memory that holds every trial, in the order of their numbers.

    Args:
        name: Of the study.
        type: Whether less or more is better.
        parameters: The space.
        past: The trials. Optuna counts them from 0, we count from 1.
    """
    study = new_study(type, InMemoryStorage(), name=name)
    study.add_trials([frozen(parameters, trial) for trial in past])
    return study


def point_of(parameters: Sequence[ParameterSpec], values: Mapping[str, Any]) -> dict[str, str]:
    """A point as the entry point gets it."""
    return {p.name: text_of(p, values[p.name]) for p in parameters}


def _last_on_step(low: Decimal, high: Decimal, step: Decimal) -> Decimal:
    return low + (high - low) // step * step


def _same(parameter: ParameterSpec, one: str, other: str) -> bool:
    if one == other or parameter.type is ParameterType.CATEGORICAL:
        return one == other
    return Decimal(one) == Decimal(other)
