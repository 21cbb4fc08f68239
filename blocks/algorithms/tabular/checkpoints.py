"""Checkpoints: what is needed to go on with a training, in one file that is there wholly or not at all."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from .rounds import Rounds
from .settings import InputError

KEPT = 2
"""So many are kept beside the work; what was uploaded stays where it is."""

_NAME = re.compile(r"checkpoint-(\d+)\.joblib")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        facts: What has to be the same to go on: estimator, task, target, features, classes.
        transformer: The fitted transformer.
        rounds: The training's state.
    """

    facts: dict[str, Any]
    transformer: Any
    rounds: dict[str, Any]


def save_checkpoint(directory: Path, facts: dict[str, Any], transformer: Any, rounds: Rounds) -> Path:
    """Write one, and remove the oldest."""
    path = directory / f"checkpoint-{rounds.done:06d}.joblib"
    dump_whole({"facts": facts, "transformer": transformer, "rounds": vars(rounds)}, path)
    for _, old in _found([directory])[:-KEPT]:
        old.unlink()
    return path


def load_checkpoint(directories: Iterable[Path], facts: dict[str, Any]) -> Checkpoint | None:
    """The one with the most iterations in `directories`, if there is any.

    Raises:
        InputError: It is of another training; what differs is named.
    """
    found = _found(directories)
    if not found:
        return None
    done, path = found[-1]
    checkpoint = Checkpoint(**joblib.load(path))
    for name, value in facts.items():
        if checkpoint.facts[name] != value:
            raise InputError(
                f"{path.name} was made with {name} {checkpoint.facts[name]!r} and cannot go on with {value!r}; "
                "give the same, or no input checkpoint"
            )
    print(f"going on from {path.name}, after iteration {done}", flush=True)
    return checkpoint


def dump_whole(value: Any, path: Path) -> None:
    """Write `value` so that `path` is never there half written."""
    partial = path.with_name(f".{path.name}.partial")
    joblib.dump(value, partial)
    partial.rename(path)


def _found(directories: Iterable[Path]) -> list[tuple[int, Path]]:
    """All checkpoints by their iterations, the most last."""
    matches = [
        (int(match[1]), path)
        for directory in directories
        for path in directory.glob("*")
        if (match := _NAME.fullmatch(path.name))
    ]
    return sorted(matches)
