"""What the demo runs: two trainings, then a tuning of the second one's code."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError, RunFailedError
from blocks.domain.specs import TrainingSpec
from blocks.domain.tunings import TuningSpec
from deployments.cli.output import reserved_stdout
from deployments.cli.running import following
from deployments.cli.subjects import RowT, Subject
from deployments.cli.training_running import TrainingSubject
from deployments.cli.tuning_running import TuningSubject
from deployments.demo_store import BUCKET

if TYPE_CHECKING:
    from blocks.registry.records import Training, Tuning

DATA = f"s3://{BUCKET}/digits"


def train_provided() -> "Training":
    """Train the provided tabular algorithm.

    Raises:
        RunFailedError: It did not end well.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    return _train(
        {
            "name": "digits-tabular",
            "algorithm": {"provided": "tabular"},
            "hyperparameters": {"target": "digit", "iterations": 30, "learning_rate": 0.2, "max_leaf_nodes": 8},
            "datasets": {"train": f"{DATA}/train", "validation": f"{DATA}/test"},
        }
    )


def train_own() -> "Training":
    """Train own code on two workers.

    Raises:
        RunFailedError: It did not end well.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    own = {"name": "digits-two-workers", "hyperparameters": {"epochs": 40, "lr": 0.1}, "workers": 2}
    return _train(own | _own_code())


def tune_own() -> "Tuning":
    """Search for better hyperparameters of the own code: of eight trials, the first three are never ended early.

    The random state is one whose points are worth a look: some are good, and some are ended early.

    Raises:
        RunFailedError: It did not end well.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    settings = {
        "name": open_platform().registry.tunings.free_name("digits-tuning"),
        "experiment": "demo",
        "hyperparameters": {"epochs": 100},
        "parameters": ["lr=DOUBLE[1e-4,1,log]", "hidden=INT[8,128,log]", "batch=DISCRETE[16,32]"],
        "random_state": 161,
        "objective_metric": "val_loss",
        "objective_type": "MINIMIZE",
        "objective_value": "LAST",  # that of the model which a trial leaves
        "max_trainings": 8,
        "parallel_trainings": 2,
        "early_stopping": {"min_trainings_required": 2, "start_step": 8},
    }
    spec = TuningSpec.model_validate(settings | _own_code())

    def run() -> None:
        from flows.tuning import create_tuning

        create_tuning(spec)

    return open_platform().registry.tunings.get(_run(TuningSubject(), spec.name, run).id)


def _own_code() -> dict[str, object]:
    return {
        "algorithm": f"s3://{BUCKET}/code",
        "entry_point": "train.py",
        "datasets": {"train": f"{DATA}/train", "test": f"{DATA}/test"},
    }


def _train(settings: dict[str, object]) -> "Training":
    name = open_platform().registry.trainings.free_name(str(settings["name"]))
    spec = TrainingSpec.model_validate(settings | {"name": name, "experiment": "demo"})

    def run() -> None:
        from flows.training import create_training

        create_training(spec)

    return open_platform().registry.trainings.get(_run(TrainingSubject(), name, run).id)


def _run(subject: Subject[RowT], name: str, create: Callable[[], None]) -> RowT:
    """Run something to its end, showing it live."""

    def find() -> RowT | None:
        try:
            return subject.get(name)
        except NotFoundError:
            return None

    with reserved_stdout() as stdout, following(subject, find, name=name, stream=stdout) as interrupts:
        create()
    row = subject.get(name)
    if interrupts.pressed:
        raise KeyboardInterrupt
    if row.status.value != "COMPLETE":
        raise RunFailedError(subject.kind, row.name, row.status, row.reason)
    return row
