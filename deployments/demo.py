"""`make demo`: two trainings and a tuning on real data from a real S3 server, and what they leave.

The first training is the provided tabular algorithm, the second is one's own code on two workers, whose
hyperparameters are then tuned. The S3 server is in memory and ends with the demo, so models and checkpoints go to the
platform's own folder, which stays; on a cluster (`make demo CLUSTER=kubernetes`), whose pods see no folder of this
machine, they go to the S3 server, too, and end with it.
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
from blocks.domain.errors import MakerflowError
from deployments.cli.documents import outputs_of
from deployments.cli.output import FAILED, INTERRUPTED, prepare_output, write, write_fields
from deployments.cli.training_metrics import write_plots
from deployments.cli.tuning_documents import trial_name
from deployments.cli.tuning_plot import write_plot
from deployments.demo_cluster import store_host, use_cluster
from deployments.demo_runs import DATA, train_own, train_provided, tune_own
from deployments.demo_store import HELD_OUT, demo_store, store_environment

if TYPE_CHECKING:
    from blocks.registry.records import Training, Tuning

METRIC = "val_accuracy"
CLUSTER = ("MAKERFLOW_CLUSTER", "MAKERFLOW_NAMESPACE", "MAKERFLOW_IMAGE", "KUBECONFIG")
"""What says on which cluster the demo ran: later commands need the same."""


def main() -> int:
    """Run the demo; its exit code."""
    prepare_output()
    began = time.monotonic()
    prepare_prefect()
    try:
        trained, tuned = _run()
        _report(trained)
        _report_tuning(tuned)
    except MakerflowError as error:
        write(f"Error: {error}", error=True)
        return FAILED
    except KeyboardInterrupt:
        write("The demo was interrupted.", error=True)
        return INTERRUPTED
    _what_next(trained[-1], tuned)
    write(f"\nThat took {time.monotonic() - began:.0f} seconds.")
    return 0


def _run() -> "tuple[Sequence[Training], Tuning]":
    """Both trainings and the tuning, finished."""
    settings = read_settings()
    with demo_store(store_host(settings)) as server:
        import flows.training  # noqa: F401 - it takes two seconds, in which the server starts

        ENVIRONMENT.update(store_environment(server))
        if settings.cluster != "local":
            use_cluster(settings)
        write(f"A real S3 server is at {ENVIRONMENT['AWS_ENDPOINT_URL']}; in {DATA} are scikit-learn's digits:")
        write(f"1,437 images to train on, and {HELD_OUT} held out.")
        write("\n1. The provided tabular algorithm: gradient boosting.")
        tabular = train_provided()
        write("\n2. Own code: a neural network on two workers that average their gradients.")
        own = train_own()
        write("\n3. A tuning of that code: 8 trainings, 2 at once, those that do worse than the others ended early.")
        return (tabular, own), tune_own()


def _report(trained: "Sequence[Training]") -> None:
    """What came of the trainings, and where it is."""
    own = trained[-1]
    write(f"\nThe learning curve of {own.name}:")
    write_plots({METRIC: open_platform().registry.metrics.curve(own.id, METRIC, 200)})
    write(f"\nAccuracy on the {HELD_OUT} images held out:")
    write_fields({row.name: f"{_last(row.id):.1%}" for row in trained})
    stays = "(the S3 server has gone; this stays)" if _outputs_stay() else "in the S3 server, which has gone"
    write(f"\nWhat they left {stays}:")
    write_fields(
        {
            f"{row.name}, {output.kind}": output.path.removeprefix("file://")
            for row in trained
            for output in (row.plan.outputs if row.plan else ())
        }
    )


def _report_tuning(row: "Tuning") -> None:
    """What the tuning has found, and the training that a model can be made from."""
    registry = open_platform().registry
    best = registry.tunings.trial(row.id, row.best_number or 1)
    training = registry.trainings.get(best.training_id)
    early = sum(trial.status.value == "EARLY_STOPPED" for trial in registry.tunings.trials(row.id))
    write(f"\nThe best that {row.name} has found, in {row.completed} trainings, {early} of them ended early:")
    write_fields(
        {
            **best.parameters,
            row.spec.objective.metric: f"{best.objective:.4f}",
            "accuracy": f"{_last(best.training_id):.1%} of the images held out",
            "plot": str(write_plot(row)),
            "training": f"{trial_name(row.name, best.number)}{', ready for a model' if _outputs_stay() else ''}",
            **({"its model": outputs_of(training)["model"].removeprefix("file://")} if _outputs_stay() else {}),
            "go on": f"{_command()} training show {trial_name(row.name, best.number)}",
        }
    )


def _what_next(own: "Training", tuned: "Tuning") -> None:
    write("\nTo try next:")
    for arguments in (
        f"training logs {own.name} --rank 1" if _outputs_stay() else f"training metrics {own.name} --plot",
        f"tuning trials {tuned.name} --sort objective",
        "up",
    ):
        write(f"  {_command()} {arguments}")


def _outputs_stay() -> bool:
    """Whether what was trained outlives the demo's S3 server."""
    return read_settings().cluster == "local"


def _last(training_id: str) -> float:
    (series,) = (one for one in open_platform().registry.metrics.names(training_id) if one.name == METRIC)
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
    settings = read_settings()
    given = {"MAKERFLOW_HOME": str(settings.home)} if ENVIRONMENT.get("MAKERFLOW_HOME") else {}
    if settings.cluster != "local":
        given |= {name: ENVIRONMENT[name] for name in CLUSTER if ENVIRONMENT.get(name)}
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in given.items()), program])


if __name__ == "__main__":
    sys.exit(main())
