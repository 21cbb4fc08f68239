"""Estimators that are trained iteration by iteration, so that there is something to see, to stop and to go on from."""

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from sklearn.base import is_regressor

from .table import Array


@dataclass(frozen=True)
class Rows:
    """Transformed features, with the target and each row's weight.

    Attributes:
        weights: None when all count alike; not ones, with which scikit-learn takes much longer to make its bins.
    """

    features: Array
    target: Array
    weights: Array | None


@dataclass(frozen=True)
class Step:
    """The outcome of one iteration.

    Attributes:
        number: The iteration's, from 1.
        at_rest: Whether the estimator is as it was after this iteration; otherwise it is ahead.
        predictions: For each of the arrays that were asked for: a column of probabilities a class, or values.
    """

    number: int
    at_rest: bool
    predictions: Sequence[Array]


class Rounds(ABC):
    """One estimator in training.

    Attributes:
        estimator: Plain scikit-learn.
        done: The iterations that the estimator has behind it.
    """

    def __init__(self, estimator: Any, done: int = 0) -> None:
        self.estimator, self.done = estimator, done

    @abstractmethod
    def run(self, until: int, train: Rows, asked: Sequence[Array]) -> Iterator[Step]:
        """Train until iteration `until`, yielding a step for each, in order, with predictions for `asked`."""

    def model(self) -> Any:
        """The estimator as it goes into the model."""
        return self.estimator

    def predict(self, asked: Sequence[Array]) -> Sequence[Array]:
        """What the model predicts for each of `asked`."""
        return [_predict(self.model(), rows) for rows in asked]


class Boosting(Rounds):
    """Histogram gradient boosting: an iteration adds a tree, or one for each of more than two classes."""

    def run(self, until: int, train: Rows, asked: Sequence[Array]) -> Iterator[Step]:
        """In chunks, whose iterations are then replayed."""
        chunks = _Chunks()
        while self.done < until:
            before, self.done = self.done, self.done + chunks.next(self.done, until)
            self.estimator.set_params(max_iter=self.done, warm_start=True)
            self.estimator.fit(train.features, train.target, sample_weight=train.weights)
            stages = zip(*(self._stages(rows) for rows in asked), strict=True)
            for number, predictions in enumerate(islice(stages, before, None), before + 1):
                yield Step(number, number == self.done, predictions)

    def _stages(self, rows: Array) -> Iterator[Array]:
        staged = self.estimator.staged_predict if is_regressor(self.estimator) else self.estimator.staged_predict_proba
        return iter(staged(rows))


class Forest(Rounds):
    """A random forest: an iteration adds a tree; their mean is what is predicted."""

    def run(self, until: int, train: Rows, asked: Sequence[Array]) -> Iterator[Step]:
        """In chunks, which the cores share; each tree is asked once."""
        sums = [self.done * _predict(self.estimator, rows) if self.done else np.zeros(1) for rows in asked]
        chunks = _Chunks()
        while self.done < until:
            before, self.done = self.done, self.done + chunks.next(self.done, until)
            self.estimator.set_params(n_estimators=self.done, warm_start=True)
            self.estimator.fit(train.features, train.target, sample_weight=train.weights)
            for number, tree in enumerate(self.estimator.estimators_[before:], before + 1):
                sums = [total + _predict(tree, rows) for total, rows in zip(sums, asked, strict=True)]
                yield Step(number, number == self.done, [total / number for total in sums])


class Epochs(Rounds):
    """What learns from batches of rows: an iteration is one pass over all of them.

    The target of a regression is learnt with mean 0 and deviation 1, whatever its unit, and scaled back in the last
    layer's weights when training is over.
    """

    def __init__(self, estimator: Any, done: int = 0, scale: tuple[float, float] = (0, 1)) -> None:
        super().__init__(estimator, done)
        self.scale = scale

    def run(self, until: int, train: Rows, asked: Sequence[Array]) -> Iterator[Step]:
        """One pass at a time."""
        extra = {} if is_regressor(self.estimator) else {"classes": np.unique(train.target)}
        target = train.target
        if is_regressor(self.estimator):
            if not self.done:
                self.scale = (float(target.mean()), float(target.std()) or 1.0)
            target = (target - self.scale[0]) / self.scale[1]
        while self.done < until:
            self.estimator.partial_fit(train.features, target, sample_weight=train.weights, **extra)
            self.done += 1
            yield Step(self.done, True, [self._unscaled(_predict(self.estimator, rows)) for rows in asked])

    def model(self) -> Any:
        """The estimator, of which a regressor predicts in the target's own unit."""
        estimator = copy.deepcopy(self.estimator)
        if not is_regressor(estimator):
            return estimator
        center, spread = self.scale
        if hasattr(estimator, "coefs_"):
            estimator.coefs_[-1] = estimator.coefs_[-1] * spread
            estimator.intercepts_[-1] = self._unscaled(estimator.intercepts_[-1])
        else:
            estimator.coef_ = estimator.coef_ * spread
            estimator.intercept_ = estimator.intercept_ * spread + center
        return estimator

    def _unscaled(self, values: Array) -> Array:
        return values * self.scale[1] + self.scale[0] if is_regressor(self.estimator) else values


class _Chunks:
    """How many iterations are made at once: as many as take about two seconds.

    A chunk costs something that grows with the iterations done, so chunks grow with them, too.
    """

    def __init__(self) -> None:
        self._size, self._began = 1, time.monotonic()

    def next(self, done: int, until: int) -> int:
        """How many to make now, by how long those took that were made since the last call; never past `until`."""
        now = time.monotonic()
        took, self._began = now - self._began, now
        if took < 1:
            self._size *= 2
        elif took > 4:
            self._size = max(self._size // 2, 1)
        return min(max(self._size, done // 5), until - done)


def _predict(estimator: Any, rows: Array) -> Array:
    predicted = estimator.predict(rows) if is_regressor(estimator) else estimator.predict_proba(rows)
    return np.asarray(predicted)
