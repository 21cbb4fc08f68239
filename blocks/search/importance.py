"""How much each parameter matters for being among the best trials: PED-ANOVA, as Optuna computes it.

Optuna's own comes with its two other evaluators, and so with scikit-learn, which takes seconds to import: too long for
a report that is drawn while a tuning runs. This is `optuna.importance.PedAnovaImportanceEvaluator` with its defaults,
in numpy alone, and tested to give the same numbers.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blocks.domain.parameters import RANGES, ParameterSpec, ParameterType
from blocks.domain.tunings import ObjectiveType

LEAST_TRIALS = 10
"""With fewer, the best tenth is no trial, or one among few."""

_BEST = 0.1
_STEPS = 50
_LEAST_MASS = 1e-12
_LEAST_WIDTH = 0.5 / 1.64

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def importances(
    parameters: Sequence[ParameterSpec], type: ObjectiveType, trials: Sequence[tuple[Mapping[str, str], float]]
) -> dict[str, float]:
    """Shares that sum to 1, the largest first; empty with fewer than `LEAST_TRIALS` trials.

    A share is the Pearson divergence between where the best tenth of the trials lie on a parameter and where all of
    them do (Watanabe, Bansal and Hutter, "PED-ANOVA", IJCAI 2023).

    Args:
        parameters: The space.
        type: Whether less or more is better.
        trials: The point of each trial that SUCCEEDED, and its objective value, which is finite.
    """
    if len(trials) < LEAST_TRIALS:
        return {}
    losses = np.asarray([value for _, value in trials]) * (1 if type is ObjectiveType.MINIMIZE else -1)
    last = math.ceil(_BEST * len(losses)) - 1
    best = losses <= np.partition(losses, last)[last]
    found = {p.name: _divergence(p, [point[p.name] for point, _ in trials], best) for p in parameters}
    total = sum(found.values())
    shares = {name: value / total if total else 1 / len(found) for name, value in found.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _divergence(parameter: ParameterSpec, texts: Sequence[str], best: npt.NDArray[np.bool_]) -> float:
    size, places = _on_grid(parameter, texts)
    if size < 2:
        return 0.0
    density = _densities_of_list if parameter.type not in RANGES else _densities_of_range
    among_best = density(np.bincount(places[best], minlength=size)) + _LEAST_MASS
    among_all = density(np.bincount(places, minlength=size)) + _LEAST_MASS
    return float(among_all @ ((among_best / among_all - 1) ** 2))


def _on_grid(parameter: ParameterSpec, texts: Sequence[str]) -> tuple[int, Counts]:
    """How many places the grid has, and that of each value."""
    if parameter.type not in RANGES:
        known = {value: number for number, value in enumerate(parameter.values)}
        return len(known), np.asarray([known[text] for text in texts])
    low, high = float(parameter.low), float(parameter.high)
    size = _STEPS
    if parameter.distance:
        high = float(parameter.point(parameter.count() - 1))
    if parameter.distance and not parameter.log:
        size = min(parameter.count(), _STEPS)
    elif parameter.log and parameter.type is ParameterType.INT:
        size = min(math.ceil(math.log2(high - low + 1)) + 1, _STEPS)
    if high <= low:
        return 1, np.zeros(len(texts), np.int64)
    values = np.asarray([float(text) for text in texts])
    if parameter.log:
        low, high, values = math.log(low), math.log(high), np.log(values)
    places = np.ceil((values - low) / ((high - low) / (size - 1)) - 0.5).astype(np.int64)
    return size, np.clip(places, 0, size - 1)


def _densities_of_range(counts: Counts) -> Array:
    """A Parzen estimate on the places of a grid: a normal kernel at each that was seen, and a wide one over all."""
    seen = np.flatnonzero(counts)
    weights = counts[seen].astype(np.float64)
    total, size = weights.sum(), len(counts)
    mean = seen @ weights / total
    width = math.sqrt((seen - mean) ** 2 @ weights / max(1.0, total - 1))
    below = np.cumsum(weights)
    first = np.searchsorted(below, total // 4, side="left")
    third = np.searchsorted(below, total * 3 // 4, side="right")
    middle_half = seen[min(len(seen) - 1, third)] - seen[first]
    width = max(1.059 * min(middle_half / 1.34, width) * total**-0.2, _LEAST_WIDTH)  # Scott's rule
    centres = np.append(seen, (size - 1) / 2)
    widths = np.append(np.full(len(seen), width), size)
    edges = (np.arange(size + 1) - 0.5 - centres[:, None]) / widths[:, None]
    below_edges = np.vectorize(_normal)(edges)
    kernels = np.diff(below_edges) / (below_edges[:, -1:] - below_edges[:, :1])
    return _mixed(weights, kernels)


def _densities_of_list(counts: Counts) -> Array:
    """The same for values without an order: a kernel at each is that value, and a little of all."""
    seen = np.flatnonzero(counts)
    kernels = np.full((len(seen) + 1, len(counts)), 1 / (len(seen) + 1))
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    return _mixed(counts[seen].astype(np.float64), kernels)


def _mixed(weights: Array, kernels: Array) -> Array:
    """The weighted mean of kernels, the last of which, over all, weighs as much as one trial."""
    every = np.append(weights, 1.0)
    mean: Array = every @ kernels / every.sum()
    return mean


def _normal(deviations: float) -> float:
    return 0.5 * (1 + math.erf(deviations / math.sqrt(2)))
