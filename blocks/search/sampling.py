"""Random and Bayesian search: Optuna's samplers, a fresh one for each trial, on a study in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from blocks.domain.parameters import ParameterSpec
from blocks.domain.tunings import ObjectiveType, Sampler, Strategy
from blocks.search.base import PastTrial, Search
from blocks.search.study import distribution, frozen, new_study, point_of, text_of, value_of

TRIES = 20
"""So often a point that was suggested before is drawn again; a space that is nearly exhausted may then repeat one."""

_RANDOM_TRIES = 100
"""The same by chance alone, when a sampler insists on what it knows."""


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
        self._storage = InMemoryStorage()
        self._study = new_study(type, self._storage, sampler=self._sampler)
        self._ids: dict[int, int] = {}

    def suggest(self, number: int) -> dict[str, str] | None:
        """As promised; only a grid is ever exhausted."""
        self._sampler.number = number
        trial = self._study.ask(self._space)
        self._keep(number, trial.number, trial.params)
        return point_of(self._parameters, trial.params)

    def tell(self, trial: PastTrial) -> None:
        """As promised."""
        given = frozen(self._parameters, trial)
        id = self._ids.get(trial.number)
        if id is None:
            self._study.add_trial(given)
            self._keep(trial.number, len(self._study.get_trials(deepcopy=False)) - 1, given.params)
        elif given.state.is_finished() and not self._storage.get_trial(id).state.is_finished():
            for report, value in given.intermediate_values.items():
                self._storage.set_trial_intermediate_value(id, report, value)
            self._study.tell(self._storage.get_trial(id).number, given.value, state=given.state)

    def _keep(self, number: int, place: int, params: Mapping[str, Any]) -> None:
        self._sampler.seen.add(_key(params))
        if number:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(0, place)


class _PerTrial(BaseSampler):
    """Draws a whole point, by a sampler that is made for this trial alone."""

    def __init__(
        self, strategy: Strategy, sampler: Sampler, random_state: int, parameters: Sequence[ParameterSpec]
    ) -> None:
        self.number = 0
        self.seen: set[tuple[tuple[str, Any], ...]] = set()
        self._strategy, self._sampler, self._random_state = strategy, sampler, random_state
        self._parameters = {parameter.name: parameter for parameter in parameters}
        space = {name: distribution(parameter) for name, parameter in self._parameters.items()}
        self._space = {name: one for name, one in space.items() if not one.single()}
        self._fixed = {name: _only(one) for name, one in space.items() if one.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it: every trial has the same space."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point that was not suggested before, unless that cannot be found."""
        point: dict[str, Any] = {}
        for attempt in range(TRIES + _RANDOM_TRIES):
            sampler = self._made_for(attempt)
            drawn = sampler.sample_relative(study, trial, self._space)
            for name, one in self._space.items():
                value = drawn[name] if name in drawn else sampler.sample_independent(study, trial, name, one)
                # As it is when it is read again: 0.3, where Optuna adds up steps to 0.30000000000000004.
                point[name] = value_of(self._parameters[name], text_of(self._parameters[name], value))
            if _key({**self._fixed, **point}) not in self.seen:
                break
        return point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: a point is drawn as a whole."""
        return self._made_for(0).sample_independent(study, trial, param_name, param_distribution)

    def _made_for(self, attempt: int) -> BaseSampler:
        entropy = [self._random_state, self.number, attempt]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        if self._strategy is Strategy.RANDOM or attempt >= TRIES:
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, multivariate=self._sampler is Sampler.TPE)


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))


def _only(distribution: BaseDistribution) -> Any:
    """The value of a distribution that has a single one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 - for the type checker
    return distribution.low
