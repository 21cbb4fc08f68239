"""`make demo`: two trainings on real data from a real S3 server, and what they leave.

The first is the provided tabular algorithm, the second is one's own code on two workers. The S3 server is in memory and
ends with the demo, so models and checkpoints go to the platform's own folder, which stays.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.connections.platform import open_platform
from blocks.connections.settings import ENVIRONMENT, prepare_prefect, read_settings
from blocks.domain.errors import MakerflowError, NotFoundError, RunFailedError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.specs import TrainingSpec
from deployments.cli.output import FAILED, INTERRUPTED, prepare_output, reserved_stdout, write, write_fields
from deployments.cli.running import following
from deployments.cli.training_metrics import write_plots
from deployments.cli.training_running import TrainingSubject
from deployments.demo_store import BUCKET, HELD_OUT, demo_store, store_environment

if TYPE_CHECKING:
    from blocks.registry.records import Training

DATA = f"s3://{BUCKET}/digits"
METRIC = "val_accuracy"


def main() -> int:
    """Run the demo; its exit code."""
    prepare_output()
    began = time.monotonic()
    prepare_prefect()
    try:
        trained = _run()
    except MakerflowError as error:
        write(f"Error: {error}", error=True)
        return FAILED
    except KeyboardInterrupt:
        write("The demo was interrupted.", error=True)
        return INTERRUPTED
    _report(trained)
    write(f"\nThat took {time.monotonic() - began:.0f} seconds.")
    return 0


def _run() -> "Sequence[Training]":
    """Both trainings, finished."""
    with demo_store() as server:
        import flows.training  # noqa: F401 - it takes two seconds, in which the server starts

        ENVIRONMENT.update(store_environment(server))
        write(f"A real S3 server is at {ENVIRONMENT['AWS_ENDPOINT_URL']}; in {DATA} are scikit-learn's digits:")
        write(f"1,437 images to train on, and {HELD_OUT} held out.")
        write("\n1. The provided tabular algorithm: gradient boosting.")
        tabular = _train(_tabular())
        write("\n2. Own code: a neural network on two workers that average their gradients.")
        return tabular, _train(_own_code())


def _tabular() -> TrainingSpec:
    return TrainingSpec.model_validate(
        {
            "name": open_platform().registry.trainings.free_name("digits-tabular"),
            "experiment": "demo",
            "algorithm": {"provided": "tabular"},
            "hyperparameters": {"target": "digit", "iterations": 30, "learning_rate": 0.2, "max_leaf_nodes": 8},
            "datasets": {"train": f"{DATA}/train", "validation": f"{DATA}/test"},
        }
    )


def _own_code() -> TrainingSpec:
    return TrainingSpec.model_validate(
        {
            "name": open_platform().registry.trainings.free_name("digits-two-workers"),
            "experiment": "demo",
            "algorithm": f"s3://{BUCKET}/code",
            "entry_point": "train.py",
            "hyperparameters": {"epochs": 40, "lr": 0.1},
            "datasets": {"train": f"{DATA}/train", "test": f"{DATA}/test"},
            "workers": 2,
        }
    )


def _find(name: str) -> "Training | None":
    try:
        return open_platform().registry.trainings.get(name)
    except NotFoundError:
        return None


def _train(spec: TrainingSpec) -> "Training":
    """Run one training to its end, showing it live.

    Raises:
        RunFailedError: It did not end well.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    from flows.training import create_training

    def find() -> "Training | None":
        return _find(spec.name)

    with (
        reserved_stdout() as stdout,
        following(TrainingSubject(), find, name=spec.name, stream=stdout) as interrupts,
    ):
        create_training(spec)
    row = open_platform().registry.trainings.get(spec.name)
    if interrupts.pressed:
        raise KeyboardInterrupt
    if row.status is not TrainingStatus.COMPLETE:
        raise RunFailedError("training", row.name, row.status, row.reason)
    return row


def _report(trained: "Sequence[Training]") -> None:
    """What came of it, where it is, and what to try next."""
    metrics = open_platform().registry.metrics
    own = trained[-1]
    write(f"\nThe learning curve of {own.name}:")
    write_plots({METRIC: metrics.curve(own.id, METRIC, 200)})
    write(f"\nAccuracy on the {HELD_OUT} images held out:")
    write_fields({row.name: f"{_last(row):.1%}" for row in trained})
    write("\nWhat they left (the S3 server has gone; this stays):")
    write_fields(
        {
            f"{row.name}, {output.kind}": output.path.removeprefix("file://")
            for row in trained
            for output in (row.plan.outputs if row.plan else ())
        }
    )
    write("\nTo try next:")
    for arguments in (f"training show {own.name}", f"training logs {own.name} --rank 1", "up"):
        write(f"  {_command()} {arguments}")


def _last(row: "Training") -> float:
    (series,) = (one for one in open_platform().registry.metrics.names(row.id) if one.name == METRIC)
    return series.last or 0.0


def _command() -> str:
    """How to call the command from where the demo was called."""
    program = "makerflow"
    if not shutil.which(program):
        beside = Path(sys.executable).with_name(program)
        here = Path.cwd()
        program = str(beside.relative_to(here) if beside.is_relative_to(here) else beside)
        if not beside.exists():
            program = f"{sys.executable} -m deployments.cli"
    home = ENVIRONMENT.get("MAKERFLOW_HOME")
    return f"MAKERFLOW_HOME={shlex.quote(str(read_settings().home))} {program}" if home else program


if __name__ == "__main__":
    sys.exit(main())
