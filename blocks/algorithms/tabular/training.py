"""One training: read, split, transform, iterate, keep."""

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight

from .checkpoints import dump_whole, load_checkpoint, save_checkpoint
from .estimators import TREES, make_rounds
from .features import make_transformer
from .rounds import Rounds, Rows
from .scores import classification_scores, metric_line, regression_scores
from .settings import InputError, Settings
from .table import Array, Feature, choose_task, feature_rows, find_features, read_table, target_values, with_target


@dataclass(frozen=True)
class Places:
    """Where data comes from and goes to."""

    train: Path
    validation: Path | None
    model: Path
    checkpoints: Path
    input_checkpoints: Path | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Places":
        """As the environment of an entry point says it.

        Raises:
            InputError: There is no dataset `train`.
        """
        if "EM_DATASET_TRAIN" not in environ:
            raise InputError("the dataset 'train' is needed: CSV or Parquet files with a header")

        def optional(name: str) -> Path | None:
            return Path(environ[name]) if name in environ else None

        return cls(
            train=Path(environ["EM_DATASET_TRAIN"]),
            validation=optional("EM_DATASET_VALIDATION"),
            model=Path(environ["EM_MODEL_DIR"]),
            checkpoints=Path(environ["EM_CHECKPOINT_DIR"]),
            input_checkpoints=optional("EM_CHECKPOINT_INPUT_DIR"),
        )


@dataclass(frozen=True)
class Problem:
    """What is to be learnt, from what.

    Attributes:
        classes: Sorted; empty for a regression.
        held_out: Rows and target that are only predicted; None when nothing is held out.
    """

    task: str
    features: list[Feature]
    classes: Array
    rows: Array
    target: Array
    held_out: tuple[Array, Array] | None

    def scores(self, predictions: Sequence[Array]) -> dict[str, float]:
        """The metrics of predictions for the rows, and then for those held out."""
        scores = self._scores(predictions[0], self.target)
        if self.held_out:
            unseen = self._scores(predictions[1], self.held_out[1])
            scores |= {f"val_{name}": value for name, value in unseen.items()}
        return scores

    def _scores(self, predictions: Array, target: Array) -> dict[str, float]:
        if self.task == "regression":
            return regression_scores(predictions, target)
        return classification_scores(predictions, target, self.classes)


def train(settings: Settings, places: Places) -> None:
    """Train until the end, leaving the model.

    Raises:
        InputError: Something about the data or the hyperparameters has to be changed.
    """
    problem = read_problem(settings, places)
    rounds = make_rounds(settings, problem.task, problem.features)
    facts = _facts(settings, problem, rounds)
    earlier = [place for place in (places.input_checkpoints, places.checkpoints) if place]
    if checkpoint := load_checkpoint(earlier, facts):
        transformer = checkpoint.transformer
        vars(rounds).update(checkpoint.rounds)
    else:
        transformer = make_transformer(problem.features, for_trees=settings.estimator in TREES)
        transformer.fit(problem.rows)

    def keep() -> None:
        save_checkpoint(places.checkpoints, facts, transformer, rounds)

    scores = _iterate(settings, problem, transformer, rounds, keep)
    model = Pipeline([("features", transformer), ("estimator", rounds.model())])
    dump_whole(model, places.model / "model.joblib")
    description = _describe(settings, problem, rounds.done, scores)
    (places.model / "model.json").write_text(json.dumps(description, indent=2) + "\n")


def read_problem(settings: Settings, places: Places) -> Problem:
    """Read the datasets.

    Raises:
        InputError: They are not what the settings say.
    """
    table = with_target(read_table(places.train), settings.target, "train")
    features = find_features(table, settings)
    task = choose_task(table[settings.target], settings)
    rows, target = feature_rows(table, features), target_values(table[settings.target], task)
    held_out = None
    if places.validation:
        unseen = with_target(read_table(places.validation), settings.target, "validation")
        held_out = feature_rows(unseen, features), target_values(unseen[settings.target], task)
        if held_out[1].dtype.kind != target.dtype.kind:
            raise InputError(f"the target {settings.target!r} is of another type in 'validation' than in 'train'")
    elif settings.validation_fraction:
        rows, unseen_rows, target, unseen_target = _split(rows, target, task, settings)
        held_out = unseen_rows, unseen_target
    classes = np.unique(target) if task == "classification" else np.array([])
    if task == "classification" and len(classes) < 2:
        raise InputError(f"the target {settings.target!r} has only the value {classes[0]!r}: there is nothing to learn")
    known = f" and {len(classes)} classes" if len(classes) else ""
    unseen_count = len(held_out[1]) if held_out else 0
    sizes = f"{len(rows)} rows, {unseen_count} more held out, with {len(features)} features{known}"
    print(f"{task} of {settings.target!r} from {sizes}", flush=True)
    return Problem(task, features, classes, rows, target, held_out)


def _split(rows: Array, target: Array, task: str, settings: Settings) -> list[Array]:
    """Hold rows out; of each class its share, where every class has enough for that."""
    held_out = round(len(rows) * settings.validation_fraction)
    if not 0 < held_out < len(rows):
        raise InputError(
            f"{len(rows)} rows are too few to hold {settings.validation_fraction} of them out; "
            "give more rows, a dataset 'validation', or validation_fraction 0"
        )
    counts = np.unique(target, return_counts=True)[1] if task == "classification" else np.array([0])
    can_stratify = min(counts) >= 2 and len(counts) <= min(held_out, len(rows) - held_out)
    parts: list[Array] = train_test_split(
        rows,
        target,
        test_size=held_out,
        random_state=settings.random_state,
        stratify=target if can_stratify else None,
    )
    return parts


def _facts(settings: Settings, problem: Problem, rounds: Rounds) -> dict[str, Any]:
    """What a checkpoint must agree on to be gone on from."""
    return {
        "estimator": settings.estimator,
        "task": problem.task,
        "target": settings.target,
        "features": [asdict(feature) for feature in problem.features],
        "classes": problem.classes.tolist(),
        "class_weight": settings.class_weight,
        **rounds.estimator.get_params(),
    }


def _iterate(
    settings: Settings, problem: Problem, transformer: Any, rounds: Rounds, keep: Callable[[], object]
) -> dict[str, float]:
    """Train, printing metrics and keeping checkpoints; the last metrics."""
    weights = compute_sample_weight("balanced", problem.target) if settings.class_weight == "balanced" else None
    rows = Rows(transformer.transform(problem.rows), problem.target, weights)
    asked = [rows.features, *([transformer.transform(problem.held_out[0])] if problem.held_out else [])]
    patience = _Patience(settings.patience)
    began = kept = rounds.done
    scores: dict[str, float] = {}
    for step in rounds.run(settings.iterations, rows, asked):
        scores = problem.scores(step.predictions)
        print(metric_line(step.number, scores), flush=True)
        patience.see(step.number, scores)
        if step.at_rest and settings.checkpoint_every and step.number - kept >= settings.checkpoint_every:
            keep()
            kept = step.number
        if step.at_rest and patience.is_over:
            print(f"no better validation loss for {settings.patience} iterations: this is enough", flush=True)
            break
    if rounds.done == began:
        print(f"all of the {settings.iterations} iterations are done already", flush=True)
        scores = problem.scores(rounds.predict(asked))
    elif settings.checkpoint_every and kept < rounds.done:
        keep()
    return scores


class _Patience:
    """Knows when there has been no better validation loss for too long."""

    def __init__(self, limit: int) -> None:
        self._limit, self._best = limit, float("inf")
        self._best_at = self._now = 0

    def see(self, number: int, scores: Mapping[str, float]) -> None:
        """Take note of an iteration's scores; without a validation loss it counts as better."""
        loss = scores.get("val_loss", -float("inf"))
        if loss < self._best or loss == -float("inf") or not self._best_at:
            self._best, self._best_at = loss, number
        self._now = number

    @property
    def is_over(self) -> bool:
        return bool(self._limit) and self._now - self._best_at >= self._limit


def _describe(settings: Settings, problem: Problem, iterations: int, scores: Mapping[str, float]) -> dict[str, Any]:
    """What `model.json` says of the model beside it."""
    return {
        "format": 1,
        "algorithm": "tabular",
        "task": problem.task,
        "target": settings.target,
        "features": [asdict(feature) for feature in problem.features],
        "classes": problem.classes.tolist(),
        "iterations": iterations,
        "metrics": {name: value if math.isfinite(value) else None for name, value in scores.items()},
        "hyperparameters": asdict(settings),
        "versions": {
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
    }
