"""Which parameters matter: the numbers are Optuna's, without what Optuna imports for them."""

import random
import subprocess
import sys
import warnings

import pytest

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.parameters import ParameterSpec, parse_parameter
from blocks.domain.tunings import ObjectiveType
from blocks.search.base import PastTrial
from blocks.search.importance import LEAST_TRIALS, importances
from tests.doubles.studies import study_with

SPACES = {
    "ranges": ("x=DOUBLE[-5,5]", "y=DOUBLE[1e-5,1e-1,log]", "n=INT[1,9]", "m=INT[1,1000,log]"),
    "steps": ("x=DOUBLE[0,1,0.1]", "n=INT[0,100,5]", "w=DOUBLE[0,1000,0.5]", "one=INT[4,4]"),
    "factors": ("x=DOUBLE[1e-4,1,10,log]", "n=INT[1,100,3,log]", "free=DOUBLE[-1e9,1e9]"),
    "lists": ("kind=CATEGORICAL[a,b,c]", "size=DISCRETE[16,32,64]", "x=DOUBLE[0,1]"),
}


def space(name: str) -> tuple[ParameterSpec, ...]:
    return tuple(ParameterSpec.model_validate(parse_parameter(text)) for text in SPACES[name])


def drawn(parameters: tuple[ParameterSpec, ...], chance: random.Random) -> dict[str, str]:
    def value(p: ParameterSpec) -> str:
        if p.values or p.distance:
            return p.point(chance.randrange(p.count()))
        share = chance.random()
        low, high = float(p.low), float(p.high)
        return p.text(low * (high / low) ** share if p.log else low + (high - low) * share)

    return {p.name: value(p) for p in parameters}


def trials_of(name: str, count: int, seed: int) -> list[tuple[dict[str, str], float]]:
    chance, parameters = random.Random(seed), space(name)
    points = [drawn(parameters, chance) for _ in range(count)]
    first, second = parameters[:2]

    def loss(point: dict[str, str]) -> float:
        places = [p.values.index(point[p.name]) if p.values else float(point[p.name]) for p in (first, second)]
        return round(places[0] ** 2 + 0.01 * places[1] + chance.random() * 0.1, 1)  # with ties

    return [(point, loss(point)) for point in points]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("count", [10, 37, 400])
@pytest.mark.parametrize("type", ObjectiveType)
def test_the_importances_are_those_of_optunas_default_evaluator(name: str, count: int, type: ObjectiveType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna.importance

        trials, parameters = trials_of(name, count, seed=count), space(name)
        past = [PastTrial(n, p, TrialStatus.SUCCEEDED, value) for n, (p, value) in enumerate(trials, 1)]
        theirs = optuna.importance.get_param_importances(study_with(type, parameters, past))
    ours = importances(parameters, type, trials)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert list(ours.values()) == sorted(ours.values(), reverse=True)


def test_a_few_trials_tell_nothing() -> None:
    assert importances(space("ranges"), ObjectiveType.MINIMIZE, trials_of("ranges", LEAST_TRIALS - 1, 1)) == {}


def test_where_nothing_differs_all_matter_as_much() -> None:
    trials = [({"one": "4", "other": "2"}, 1.0)] * 20
    parameters = [ParameterSpec.model_validate(parse_parameter(text)) for text in ("one=INT[4,4]", "other=INT[2,2]")]
    assert importances(parameters, ObjectiveType.MINIMIZE, trials) == {"one": 0.5, "other": 0.5}


def test_neither_scikit_learn_nor_optuna_nor_torch_is_imported() -> None:
    code = (
        "import sys, blocks.search.importance as _; print({'sklearn', 'optuna', 'torch', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
