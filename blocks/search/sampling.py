"""Random and Bayesian search: Optuna's samplers, a fresh one for each trial, on a study in memory."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocks.domain.lifecycle import TRIAL_FINISHED, TrialStatus
from blocks.domain.parameters import ParameterSpec
from blocks.domain.tunings import ObjectiveType, Sampler, Strategy
from blocks.search.base import PastTrial, Search
from blocks.search.study import distribution, frozen, new_study, point_of, text_of, value_of

TRIES = 5
"""So often a sampler may draw a point that was suggested before; then one that was not is looked for."""

_OVER = TRIAL_FINISHED | {TrialStatus.KILLED}

_NO_TRIAL = create_trial(state=TrialState.RUNNING)

Key = tuple[str, ...]
"""A point: the texts of its values, in the order of the parameters."""


class SampledSearch(Search):
    """Points of a sampler of Optuna's.

    The suggestion for trial n is made by a fresh sampler seeded by (random state, n), so that it depends on the trials
    before it and not on the process that asks. Running trials count as bad ones (TPE's constant liar), and a point is
    not suggested twice while there are others.

    Args:
        parameters: The space.
        strategy: RANDOM or BAYESIAN_OPTIMIZATION.
        sampler: Of BAYESIAN_OPTIMIZATION.
        type: Whether less or more is better.
        random_state: 0 to 2**32 - 1.
    """

    def __init__(
        self,
        parameters: Sequence[ParameterSpec],
        strategy: Strategy,
        sampler: Sampler,
        type: ObjectiveType,
        random_state: int,
    ) -> None:
        self._parameters = parameters
        self._space = {parameter.name: distribution(parameter) for parameter in parameters}
        self._sampler = _PerTrial(strategy, sampler, random_state, parameters)
        self._type = type
        self._earlier: dict[tuple[Key, float | None], PastTrial] = {}
        self._past: dict[int, PastTrial] = {}
        self._places: dict[int, int] = {}
        self._learns = strategy is not Strategy.RANDOM
        self._study: optuna.Study | None = None
        """Of all that was told, in the order of the numbers; None when it has to be made anew."""

    def suggest(self, number: int) -> dict[str, str] | None:
        """As promised; only a grid is ever exhausted."""
        if number in self._past:
            return dict(self._past[number].parameters)
        study = self._study = self._study or self._made_anew()
        self._sampler.number = number
        if self._learns:
            point = point_of(self._parameters, study.ask(self._space).params)
        else:
            # Chance needs no trials: asked for one, Optuna goes through all that there are.
            point = dict(zip(self._space, self._sampler.key(study, _NO_TRIAL), strict=True))
        self._put(PastTrial(number=number, parameters=point, status=TrialStatus.CREATED))
        return dict(point)

    def tell(self, trial: PastTrial) -> None:
        """As promised."""
        known = self._past.get(trial.number)
        trial = _slim(trial)
        if trial.number == 0:
            self._earlier[self._key(trial), trial.objective] = trial
            self._sampler.seen.add(self._key(trial))
            self._study = None
        elif known is None:
            if self._study and self._learns:
                self._study.add_trial(frozen(self._parameters, trial))
            self._put(trial)
        elif known != trial:
            self._past[trial.number] = trial
            self._sampler.seen.add(self._key(trial))
            self._change(known, trial)

    def _put(self, trial: PastTrial) -> None:
        """Take a trial that the study has as its last one; where it is not the last by its number, it has to move."""
        if self._past and trial.number < next(reversed(self._past)) and self._learns:
            self._study = None
        self._places[trial.number] = len(self._places) + len(self._earlier)
        self._past[trial.number] = trial
        self._sampler.seen.add(self._key(trial))

    def _change(self, known: PastTrial, trial: PastTrial) -> None:
        if self._study is None or not self._learns:
            return
        if known.status in _OVER or known.parameters != trial.parameters:
            # Such as one that was killed and has run again: what Optuna was told of a trial that is over is final.
            self._study = None
        elif trial.status in _OVER:
            place, given = self._places[trial.number], frozen(self._parameters, trial)
            for report, value in given.intermediate_values.items():
                self._study._storage.set_trial_intermediate_value(place, report, value)  # an id is a place in memory
            self._study.tell(place, given.value, state=given.state)

    def _made_anew(self) -> optuna.Study:
        self._past = dict(sorted(self._past.items()))
        self._places = {number: place for place, number in enumerate(self._past, len(self._earlier))}
        study = new_study(self._type, InMemoryStorage(), sampler=self._sampler)
        if self._learns:
            trials = (*self._earlier.values(), *self._past.values())
            study.add_trials([frozen(self._parameters, trial) for trial in trials])
        return study

    def _key(self, trial: PastTrial) -> Key:
        return tuple(text_of(p, value_of(p, trial.parameters[p.name])) for p in self._parameters)


class _PerTrial(BaseSampler):
    """Draws a whole point, by a sampler that is made for this trial alone."""

    def __init__(
        self, strategy: Strategy, sampler: Sampler, random_state: int, parameters: Sequence[ParameterSpec]
    ) -> None:
        self.number = 0
        self.seen: set[Key] = set()
        self._strategy, self._sampler, self._random_state = strategy, sampler, random_state
        self._parameters = parameters
        space = {parameter.name: distribution(parameter) for parameter in parameters}
        self._space = {name: one for name, one in space.items() if not one.single()}
        sizes = [parameter.size() for parameter in parameters]
        self._sizes = [size for size in sizes if size is not None]
        self._is_finite = len(self._sizes) == len(sizes)
        self._is_exhausted = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it: every trial has the same space."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parts of a point that can differ."""
        values = zip(self._parameters, self.key(study, trial), strict=True)
        return {p.name: value_of(p, text) for p, text in values if p.name in self._space}

    def key(self, study: optuna.Study, trial: FrozenTrial) -> Key:
        """A point that was not suggested before, while there is one."""
        key = first = self._drawn(study, trial, 0)
        for attempt in range(1, TRIES):
            if key not in self.seen or self._is_exhausted:
                return key
            key = self._drawn(study, trial, attempt)
        if key in self.seen and self._is_finite:
            # At the end of the space the first one, as when it was known before that there is none.
            return self._unseen() or first
        return key

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: a point is drawn as a whole."""
        return self._made_for(0).sample_independent(study, trial, param_name, param_distribution)

    def _drawn(self, study: optuna.Study, trial: FrozenTrial, attempt: int) -> Key:
        """A point as it is when it is read again: 0.3, where Optuna adds up steps to 0.30000000000000004."""
        with np.errstate(divide="ignore", invalid="ignore"):  # TPE's logarithm of no chance at all, in a wide INT
            return self._drawn_by(self._made_for(attempt), study, trial)

    def _drawn_by(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> Key:
        # Asked for a space, even a TPESampler that is not multivariate takes its parameters together.
        drawn = sampler.sample_relative(study, trial, self._space if self._sampler is Sampler.TPE else {})
        for name, one in self._space.items():
            if name not in drawn:
                drawn[name] = sampler.sample_independent(study, trial, name, one)
        return tuple(text_of(p, drawn[p.name]) if p.name in drawn else p.member(0) for p in self._parameters)

    def _unseen(self) -> Key | None:
        """A point of a finite space that was not suggested before; None when there is none.

        It goes through the space in strides, from anywhere, and so is at its end after one point more than were seen.
        """
        size = math.prod(self._sizes)
        start, stride = (int(n) for n in np.random.default_rng(self._entropy(TRIES)).integers(2**62, size=2))
        start, stride = start % size, stride % size or 1
        while math.gcd(stride, size) > 1:
            stride += 1
        for step in range(min(size, len(self.seen) + 1)):
            key, rest = [], (start + step * stride) % size
            for parameter, one in zip(self._parameters, self._sizes, strict=True):
                rest, place = divmod(rest, one)
                key.append(parameter.member(place))
            if tuple(key) not in self.seen:
                return tuple(key)
        self._is_exhausted = True
        return None

    def _made_for(self, attempt: int) -> BaseSampler:
        seed = int(np.random.SeedSequence(self._entropy(attempt)).generate_state(1)[0])
        if self._strategy is Strategy.RANDOM:
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, multivariate=self._sampler is Sampler.TPE)

    def _entropy(self, attempt: int) -> list[int]:
        return [self._random_state, self.number, attempt]


def _slim(trial: PastTrial) -> PastTrial:
    """What samplers look at: of reports only the last one of a trial that was stopped early."""
    if trial.status is not TrialStatus.EARLY_STOPPED or not trial.curve:
        return replace(trial, curve={})
    last = max(trial.curve)
    return replace(trial, curve={last: trial.curve[last]})
