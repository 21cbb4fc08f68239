"""Optuna's words for ours: distributions of parameters, and trials of a study in memory."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
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
MAX_STEPS = 1_000_000
"""Of a DOUBLE: Optuna tells apart whether a value is on one of so many steps."""
STATUS = "makerflow:status"
"""A user attribute of every trial: our own word for how it ended."""


@lru_cache(maxsize=1024)
def distribution(parameter: ParameterSpec) -> BaseDistribution:
    """What Optuna samples a parameter from."""
    if parameter.type not in RANGES:
        return CategoricalDistribution(parameter.values)
    low, high, step = parameter.low, parameter.high, None if parameter.log else parameter.distance
    if parameter.distance:
        high = Decimal(parameter.point(parameter.count() - 1))
    if parameter.type is ParameterType.INT:
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(step or 1))
    # Optuna adds steps up in binary; where that goes wrong, it samples without steps, and `text_of` finds the nearest.
    if step and (parameter.count() > MAX_STEPS or any(Decimal(repr(float(one))) != one for one in (low, high, step))):
        step = None
    return FloatDistribution(float(low), float(high), log=parameter.log, step=None if step is None else float(step))


def value_of(parameter: ParameterSpec, text: str) -> Any:
    """A value as Optuna has it."""
    if parameter.type not in RANGES:
        if text in parameter.values or parameter.type is ParameterType.CATEGORICAL:
            return text
        return next((value for value in parameter.values if Decimal(value) == Decimal(text)), text)
    return int(Decimal(text)) if parameter.type is ParameterType.INT else float(text)


def text_of(parameter: ParameterSpec, value: Any) -> str:
    """A value of Optuna's as the entry point gets it; where there are steps the nearest one, as exact as they are."""
    if parameter.type not in RANGES:
        return str(value)
    return parameter.point(parameter.nearest(value)) if parameter.distance else parameter.text(float(value))


def new_study(
    type: ObjectiveType, storage: BaseStorage, *, sampler: BaseSampler | None = None, name: str = "tuning"
) -> optuna.Study:
    """An empty study, made without a word on the terminal."""
    direction = StudyDirection.MINIMIZE if type is ObjectiveType.MINIMIZE else StudyDirection.MAXIMIZE
    with _quiet():
        storage.create_new_study([direction], name)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def frozen(parameters: Sequence[ParameterSpec], trial: PastTrial) -> FrozenTrial:
    """A trial as Optuna has it; one that has failed, or has no finite value, keeps its point alone."""
    state, value = _STATES[trial.status], trial.objective
    has_value = value is not None and math.isfinite(value)
    if state is TrialState.COMPLETE and not has_value:
        state = TrialState.FAIL
    curve = dict(trial.curve)
    if state is TrialState.PRUNED and not curve and value is not None and has_value:
        curve = {1: value}
    values = {p.name: value_of(p, trial.parameters[p.name]) for p in parameters}
    return create_trial(
        state=state,
        value=value if state is TrialState.COMPLETE else None,
        params=values,
        distributions={p.name: _around(p, values[p.name]) for p in parameters},
        intermediate_values=curve,
        user_attrs={STATUS: trial.status.value},
    )


def point_of(parameters: Sequence[ParameterSpec], values: Mapping[str, Any]) -> dict[str, str]:
    """A point as the entry point gets it."""
    return {p.name: text_of(p, values[p.name]) for p in parameters}


def _around(parameter: ParameterSpec, value: Any) -> BaseDistribution:
    """The distribution, without its steps when a value of another tuning lies between them."""
    one = distribution(parameter)
    if (
        not isinstance(one, FloatDistribution | IntDistribution)
        or value_of(parameter, text_of(parameter, value)) == value
    ):
        return one
    if isinstance(one, IntDistribution):
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(float(parameter.low), float(parameter.high), log=parameter.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line by which Optuna tells of each new study; what else it tells is the user's to choose."""
    logger = logging.getLogger("optuna.storages._in_memory")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
