"""The estimators to choose from, made of the hyperparameters."""

import os
from collections.abc import Sequence
from typing import Any

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .features import category_mask
from .rounds import Boosting, Epochs, Forest, Rounds
from .settings import Settings
from .table import Feature

TREES = ("gradient_boosting", "random_forest")

_ROUNDS: dict[str, type[Rounds]] = {
    "gradient_boosting": Boosting,
    "random_forest": Forest,
    "linear": Epochs,
    "neural_network": Epochs,
}


def make_rounds(settings: Settings, task: str, features: Sequence[Feature]) -> Rounds:
    """A new estimator, ready to be trained."""
    make = {
        "gradient_boosting": _boosting,
        "random_forest": _forest,
        "linear": _linear,
        "neural_network": _network,
    }[settings.estimator]
    return _ROUNDS[settings.estimator](make(settings, task == "classification", features))


def _boosting(settings: Settings, classifies: bool, features: Sequence[Feature]) -> Any:
    kind = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    return kind(
        learning_rate=settings.learning_rate or 0.1,
        l2_regularization=settings.l2,
        max_depth=settings.max_depth or None,
        max_leaf_nodes=settings.max_leaf_nodes,
        min_samples_leaf=settings.min_samples_leaf or 20,
        max_features=settings.max_features or 1.0,
        categorical_features=category_mask(features),
        early_stopping=False,
        random_state=settings.random_state,
    )


def _forest(settings: Settings, classifies: bool, features: Sequence[Feature]) -> Any:
    kind = RandomForestClassifier if classifies else RandomForestRegressor
    return kind(
        max_depth=settings.max_depth or None,
        min_samples_leaf=settings.min_samples_leaf or 1,
        max_features=settings.max_features or ("sqrt" if classifies else 1.0),
        n_jobs=int(os.environ.get("OMP_NUM_THREADS", "1")),
        random_state=settings.random_state,
    )


def _linear(settings: Settings, classifies: bool, features: Sequence[Feature]) -> Any:
    kind, loss = (SGDClassifier, "log_loss") if classifies else (SGDRegressor, "squared_error")
    return kind(
        loss=loss,
        alpha=settings.l2,
        learning_rate="invscaling",
        eta0=settings.learning_rate or 0.03,
        power_t=0.25,
        random_state=settings.random_state,
    )


def _network(settings: Settings, classifies: bool, features: Sequence[Feature]) -> Any:
    kind = MLPClassifier if classifies else MLPRegressor
    return kind(
        hidden_layer_sizes=settings.layers,
        alpha=settings.l2,
        batch_size=settings.batch_size,
        learning_rate_init=settings.learning_rate or 0.001,
        random_state=settings.random_state,
    )
