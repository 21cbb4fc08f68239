"""The search against plain Optuna: how good its best value is, and what a suggestion costs.

`python -m tests.benchmarks.bench_search [--short]`. Quality: the best value after 60 trials on three standard
functions, medians over 20 seeds, BAYESIAN_OPTIMIZATION beside Optuna's TPE with as many seeds; the target is a ratio
of about 1. Cost: processor time of ask and tell after 100, 1,000 and 5,000 trials, the two in turns; the target is
flat for RANDOM, and Optuna's own for TPE.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from pydantic import TypeAdapter

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.parameters import Parameters, ParameterSpec
from blocks.domain.tunings import ObjectiveType, Sampler, Strategy
from blocks.search.base import PastTrial
from blocks.search.sampling import SampledSearch
from blocks.search.study import distribution
from tests.doubles.studies import study_with

Function = Callable[..., float]


@dataclass(frozen=True)
class Load:
    """How much is measured."""

    seeds: int
    trials: int
    sizes: tuple[int, ...]
    repeats: int


LONG = Load(20, 60, (100, 1000, 5000), 30)
SHORT = Load(3, 20, (100, 300), 10)


def sphere(*xs: float) -> float:
    return sum(x * x for x in xs)


def branin(x: float, y: float) -> float:
    return (
        (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
        + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x)
        + 10
    )


def rosenbrock(x: float, y: float) -> float:
    return 100 * (y - x * x) ** 2 + (1 - x) ** 2


FUNCTIONS: dict[str, tuple[Function, tuple[str, ...]]] = {
    "sphere": (sphere, tuple(f"x{n}=DOUBLE[-5.12,5.12]" for n in range(5))),
    "Branin": (branin, ("x=DOUBLE[-5,10]", "y=DOUBLE[0,15]")),
    "Rosenbrock": (rosenbrock, ("x=DOUBLE[-2.048,2.048]", "y=DOUBLE[-2.048,2.048]")),
}
MIXED = ("a=DOUBLE[0,1]", "b=DOUBLE[0,1]", "c=DOUBLE[1e-4,1,log]", "d=INT[1,1000]", "e=CATEGORICAL[x,y,z]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="3 seeds, 20 trials, 300 earlier trials")
    load = SHORT if parser.parse_args().short else LONG
    measure_quality(load)
    measure_cost(load)


def measure_quality(load: Load) -> None:
    print(f"best value after {load.trials} trials, median of {load.seeds} seeds")
    for name, (function, texts) in FUNCTIONS.items():
        space = _space(texts)
        each = [_our_best(function, space, load.trials, seed) for seed in range(load.seeds)]
        other = [_their_best(function, space, load.trials, seed) for seed in range(load.seeds)]
        ours, theirs = median(each), median(other)
        # Medians of so few, far apart, differ by a third by chance alone; the share of pairs differs less.
        better = sum((one < two) + (one == two) / 2 for one in each for two in other) / load.seeds**2
        print(
            f"{name:10} ours {ours:.4g}, Optuna's TPE {theirs:.4g}; ours is {ours / theirs:.2f} of it, "
            f"and the better one in {better:.0%} of all pairs"
        )


def measure_cost(load: Load) -> None:
    print("processor time of a suggestion and its result, five parameters")
    space = _space(MIXED)
    for strategy in (Strategy.RANDOM, Strategy.BAYESIAN_OPTIMIZATION):
        for size in load.sizes:
            ours, theirs = _costs(strategy, space, size, load.repeats)
            name = "RANDOM" if strategy is Strategy.RANDOM else "TPE"
            print(
                f"{name:6} after {size:,} trials: ours {ours * 1000:.2f} ms, Optuna {theirs * 1000:.2f} ms; "
                f"ours is {ours / theirs:.2f} of it"
            )


def _our_best(function: Function, space: Sequence[ParameterSpec], trials: int, seed: int) -> float:
    search = _search(Strategy.BAYESIAN_OPTIMIZATION, space, seed)
    best = math.inf
    for number in range(1, trials + 1):
        point = search.suggest(number)
        assert point is not None
        value = function(*map(float, point.values()))
        search.tell(PastTrial(number, point, TrialStatus.SUCCEEDED, value))
        best = min(best, value)
    return best


def _their_best(function: Function, space: Sequence[ParameterSpec], trials: int, seed: int) -> float:
    study, distributions = study_with(ObjectiveType.MINIMIZE, space, [], TPESampler(seed=seed)), _distributions(space)
    for _ in range(trials):
        trial = study.ask(distributions)
        study.tell(trial, function(*(trial.params[one.name] for one in space)))
    return study.best_value


def _costs(strategy: Strategy, space: Sequence[ParameterSpec], size: int, repeats: int) -> tuple[float, float]:
    """Ours and Optuna's, in seconds: medians, over the same earlier trials, in turns because the machine is shared."""
    past = _past(space, size)
    search = _search(strategy, space, 1)
    for trial in past:
        search.tell(trial)
    sampler: BaseSampler = RandomSampler(seed=1) if strategy is Strategy.RANDOM else TPESampler(seed=1)
    study, distributions = study_with(ObjectiveType.MINIMIZE, space, past, sampler), _distributions(space)
    ours, theirs = [], []
    for number in range(size + 1, size + repeats + 2):
        began = time.process_time()
        point = search.suggest(number)
        assert point is not None
        search.tell(PastTrial(number, point, TrialStatus.SUCCEEDED, 1.0))
        between = time.process_time()
        study.tell(study.ask(distributions), 1.0)
        ours.append(between - began)
        theirs.append(time.process_time() - between)
    return median(ours[1:]), median(theirs[1:])  # the first one reads all earlier trials


def _past(space: Sequence[ParameterSpec], size: int) -> list[PastTrial]:
    chance = _search(Strategy.RANDOM, space, 0)
    points = [chance.suggest(number) or {} for number in range(1, size + 1)]
    return [
        PastTrial(number, point, TrialStatus.SUCCEEDED, float(point["a"]) + float(point["b"]))
        for number, point in enumerate(points, 1)
    ]


def _search(strategy: Strategy, space: Sequence[ParameterSpec], seed: int) -> SampledSearch:
    return SampledSearch(space, strategy, Sampler.TPE, ObjectiveType.MINIMIZE, seed)


def _space(texts: Sequence[str]) -> tuple[ParameterSpec, ...]:
    return TypeAdapter[tuple[ParameterSpec, ...]](Parameters).validate_python(list(texts))


def _distributions(space: Sequence[ParameterSpec]) -> dict[str, BaseDistribution]:
    return {one.name: distribution(one) for one in space}


if __name__ == "__main__":
    main()
