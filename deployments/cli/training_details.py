"""`makerflow training show`, and what is printed when a training has ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deployments.cli import documents
from deployments.cli.fields import count_text, duration_text, pair_text, size_text
from deployments.cli.output import write, write_fields, write_table
from deployments.cli.training_monitor import FIGURE_HEADINGS, figure_rows, figures_document

if TYPE_CHECKING:
    from blocks.domain.plan import RunState
    from blocks.registry.records import Move, Series, Training
    from blocks.registry.usage_records import WorkerMonitoring

MONITORED_WORKERS = 4
_FAILED = ("FAIL TRAIN", "CREATE FAILED")


def workers_of(row: "Training") -> "RunState | None":
    """What the cluster knows of the run now; None when it holds nothing of it any more."""
    if row.handle is None:
        return None
    from blocks.cluster.base import Selector
    from blocks.connections.platform import open_platform

    found = open_platform().cluster.find(Selector(run_id=row.handle.run_id))
    return found[0] if found else None


def remedies(row: "Training") -> list[str]:
    """The commands that help with where the training stands."""
    name = row.name
    match row.status.value:
        case "CREATE FAILED":
            return [f"makerflow training resume {name}", f"makerflow training copy {name}"]
        case "FAIL TRAIN" | "STOPPED":
            return [f"makerflow training logs {name}", f"makerflow training copy {name}"]
        case "COMPLETE":
            return [f"makerflow training metrics {name} --plot", f"makerflow training logs {name}"]
        case _:
            return [f"makerflow training logs {name} -f", f"makerflow training resume {name}"]


def training_details(
    row: "Training",
    series: Sequence["Series"],
    moves: Sequence["Move"],
    workers: "RunState | None",
    monitored: Sequence["WorkerMonitoring"],
) -> dict[str, Any]:
    """The document of `training show --json`."""
    return documents.training_document(row, series) | {
        "history": documents.history_document(moves),
        "workers": _workers(row, workers),
        "monitoring": [figures_document(row, worker) for worker in monitored],
        "tensorboard": f"makerflow experiment tensorboard {row.experiment_name}",
        "logs": f"makerflow training logs {row.name}",
        "next": remedies(row),
    }


def write_details(
    row: "Training",
    series: Sequence["Series"],
    moves: Sequence["Move"],
    workers: "RunState | None",
    monitored: Sequence["WorkerMonitoring"],
) -> None:
    """Print all that is known of a training."""
    write_fields(_head(row))
    _section("Settings")
    write_fields(documents.settings_fields(row.spec))
    if row.spec.algorithm.hyperparameters:
        _section("Hyperparameters")
        write_fields({pair.name: pair.value or '""' for pair in row.spec.algorithm.hyperparameters})
    if workers is not None:
        _section("Workers")
        write_fields({name: str(value) for name, value in _workers(row, workers).items()})
    _write_monitoring(monitored)
    _write_outputs(row)
    _write_metrics(series)
    _section("See also")
    write_fields(_elsewhere(row))
    _section("History")
    write_table(documents.MOVE_HEADINGS, [documents.move_row(move) for move in moves], empty="")
    _section("Next")
    for command in remedies(row):
        write(f"  {command}")


def write_ending(row: "Training", series: Sequence["Series"]) -> None:
    """Print how a training ended."""
    taken = f" after {duration_text(row.training_seconds)}" if row.started else ""
    write(f"\n{row.name} ({row.id}) is {row.status.value}{taken}.")
    if row.reason and row.status.value != "COMPLETE":
        write_fields({"reason": row.reason})
    _write_outputs(row)
    _write_metrics(series)
    _section("Next")
    for command in [*remedies(row), f"makerflow training show {row.name}"]:
        write(f"  {command}")


def _head(row: "Training") -> dict[str, str]:
    return {
        "name": row.name,
        "id": row.id,
        "status": row.status.value,
        "reason": row.reason,
        "experiment": row.experiment_name,
        "template": f"{row.template.name} ({row.template.id})" if row.template else "",
        "description": row.description,
        "tags": pair_text(row.tags),
        "created": documents.time_text(row.created),
        "started": documents.time_text(row.started),
        "ended": documents.time_text(row.ended),
        "training time": duration_text(row.training_seconds) if row.started else "",
    }


def _workers(row: "Training", workers: "RunState | None") -> dict[str, Any]:
    asked = {"workers": row.spec.instances.workers, "flavor": row.spec.instances.flavor}
    if workers is None:
        return asked
    return asked | {
        "phase": workers.phase.value,
        "attempt": workers.attempt,
        "processes": workers.processes,
        "detail": workers.detail,
    }


def _write_outputs(row: "Training") -> None:
    arrived = {upload.output: upload for upload in row.uploaded}
    fields = {}
    for output in row.plan.outputs if row.plan else ():
        upload = arrived.get(output.kind)
        amount = f"  ({count_text(upload.files, 'file')}, {size_text(upload.bytes)})" if upload else ""
        fields[output.kind.value] = output.path + amount
    if fields:
        _section("Outputs")
        write_fields(fields)


def _write_metrics(series: Sequence["Series"]) -> None:
    if series:
        _section("Metrics")
        write_table(documents.SERIES_HEADINGS, [documents.series_row(one) for one in series], empty="")


def _write_monitoring(workers: Sequence["WorkerMonitoring"]) -> None:
    if workers:
        _section("Monitoring")
        write_table(FIGURE_HEADINGS, figure_rows(workers[:MONITORED_WORKERS]), empty="")
    if len(workers) > MONITORED_WORKERS:
        write(f"  and {len(workers) - MONITORED_WORKERS} more workers")


def _elsewhere(row: "Training") -> dict[str, str]:
    """Where there is more to be seen of it."""
    return {
        "logs": f"makerflow training logs {row.name}",
        "metrics": f"makerflow training metrics {row.name} --plot",
        "monitoring": f"makerflow training monitor {row.name}",
        "TensorBoard": f"makerflow experiment tensorboard {row.experiment_name}",
    }


def _section(title: str) -> None:
    write(f"\n{title}")
