"""The metrics of predictions."""

from collections.abc import Mapping

import numpy as np

from .table import Array

_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)


def classification_scores(probabilities: Array, labels: Array, classes: Array) -> dict[str, float]:
    """Log loss and accuracy. A label that training did not know counts as wrong, and as least probable."""
    places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    known = classes[places] == labels
    of_label = np.where(known, probabilities[np.arange(len(labels)), places], 0.0)
    right = known & (probabilities.argmax(axis=1) == places)
    return {
        "loss": float(-np.log(of_label.clip(min=_LEAST_PROBABILITY)).mean()),
        "accuracy": float(right.mean()),
    }


def regression_scores(predicted: Array, target: Array) -> dict[str, float]:
    """Mean squared error, its root, and the share of the variance that is explained (NaN when there is none)."""
    loss = float(np.square(predicted - target).mean())
    variance = float(target.var())
    return {"loss": loss, "rmse": loss**0.5, "r2": 1 - loss / variance if variance else float("nan")}


def metric_line(step: int, scores: Mapping[str, float]) -> str:
    """As the platform's default expression reads it."""
    return " ".join([f"step={step}", *(f"{name}={value:.6g}" for name, value in scores.items())])
