"""The hyperparameters, read from the arguments of the entry point and checked. `train.py` documents each."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn


class InputError(Exception):
    """Something that the user gave is wrong; the message says what to do."""


@dataclass(frozen=True)
class Settings:
    """All hyperparameters."""

    target: str
    task: str = "auto"
    estimator: str = "gradient_boosting"
    iterations: int = 100
    learning_rate: float = 0
    l2: float = 0.0001
    max_depth: int = 0
    max_leaf_nodes: int = 31
    min_samples_leaf: int = 0
    max_features: float = 0
    hidden_layers: str = "100"
    batch_size: int = 200
    class_weight: str = "none"
    ignore_columns: str = ""
    validation_fraction: float = 0.2
    patience: int = 0
    checkpoint_every: int = 10
    random_state: int = 0

    @property
    def layers(self) -> tuple[int, ...]:
        """The units of each hidden layer."""
        return tuple(int(part) for part in self.hidden_layers.split(","))

    @property
    def ignored(self) -> frozenset[str]:
        """The columns that are no features."""
        return frozenset(part.strip() for part in self.ignore_columns.split(",") if part.strip())


CHOICES = {
    "task": ("auto", "classification", "regression"),
    "estimator": ("gradient_boosting", "random_forest", "linear", "neural_network"),
    "class_weight": ("none", "balanced"),
}

BOUNDS: dict[str, tuple[float, float]] = {
    "iterations": (1, 10_000),
    "learning_rate": (0, 10),
    "l2": (0, 1_000_000),
    "max_depth": (0, 64),
    "max_leaf_nodes": (2, 65_536),
    "min_samples_leaf": (0, 1_000_000),
    "max_features": (0, 1),
    "batch_size": (1, 1_000_000),
    "validation_fraction": (0, 0.9),
    "patience": (0, 10_000),
    "checkpoint_every": (0, 10_000),
    "random_state": (0, 2**32 - 1),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def read_settings(arguments: Sequence[str]) -> Settings:
    """The settings in `--{name} {value}` arguments.

    Raises:
        InputError: It names the hyperparameter, and what is allowed.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for setting in fields(Settings):
        parser.add_argument(f"--{setting.name}", type=setting.type, default=setting.default)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = ", ".join(setting.name for setting in fields(Settings))
        raise InputError(f"unknown hyperparameter {unknown[0].removeprefix('--')!r}; there are: {names}")
    values = vars(known)
    if not isinstance(values["target"], str) or not values["target"]:
        raise InputError("the hyperparameter 'target' is needed: the column that is to be predicted")
    settings = Settings(**values)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise InputError(f"{name} is {getattr(settings, name)!r}; allowed are: {', '.join(choices)}")
    for name, (low, high) in BOUNDS.items():
        if not low <= getattr(settings, name) <= high:
            raise InputError(f"{name} is {getattr(settings, name)}; allowed is {low} to {high}")
    try:
        usable = min(settings.layers) > 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"hidden_layers is {settings.hidden_layers!r}; give numbers above 0 with commas, such as 64,32"
        )
