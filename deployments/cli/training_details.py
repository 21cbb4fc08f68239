"""`makerflow training show`, and what is printed when a training has ended."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deployments.cli import documents
from deployments.cli.fields import count_text, duration_text, pair_text, size_text
from deployments.cli.output import write, write_fields, write_table
from deployments.cli.training_logs import handle_of
from deployments.cli.training_monitor import FIGURE_HEADINGS, figure_rows, figures_document

if TYPE_CHECKING:
    from blocks.domain.plan import RunState, Uploaded
    from blocks.domain.specs import TrainingSettings
    from blocks.registry.records import Move, Series, Training, Tuning
    from blocks.registry.usage_records import WorkerMonitoring

MONITORED_WORKERS = 4
_FAILED = ("FAIL TRAIN", "CREATE FAILED")


def workers_of(row: "Training") -> "RunState | None":
    """What the cluster knows of the run now; None when it holds nothing of it any more."""
    handle = handle_of(row)
    if handle is None:
        return None
    from blocks.cluster.base import Selector
    from blocks.connections.platform import open_platform

    found = open_platform().cluster.find(Selector(run_id=handle.run_id))
    return found[0] if found else None


def remedies(row: "Training") -> list[str]:
    """The commands that help with where the training stands."""
    name = row.name
    match row.status.value:
        case "CREATE FAILED":
            return [f"makerflow training resume {name}", f"makerflow training copy {name}"]
        case "FAIL TRAIN" | "STOPPED":
            return [f"makerflow training logs {name}{_rank_of(row.reason)}", f"makerflow training copy {name}"]
        case "COMPLETE":
            return [f"makerflow training metrics {name} --plot", f"makerflow training logs {name}"]
        case _:
            followed = f"tuning resume {row.spec.name}" if row.tuning_id else f"training resume {name}"
            return [f"makerflow training logs {name} -f", f"makerflow {followed}"]


def _rank_of(reason: str) -> str:
    """The option for the worker that a reason names; none for the first one."""
    named = re.match(r"Worker ([1-9][0-9]*):", reason)
    return f" --rank {named[1]}" if named else ""


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
    time = duration_text(row.training_seconds) if row.started else ""
    write_fields({**head_fields(row), "training time": time})
    write_section("Settings")
    write_fields(documents.settings_fields(row.spec))
    write_hyperparameters(row.spec)
    if workers is not None:
        write_section("Workers")
        write_fields({name: str(value) for name, value in _workers(row, workers).items()})
    _write_monitoring(monitored)
    write_outputs(row)
    write_metrics(series)
    write_section("See also")
    write_fields(_elsewhere(row))
    write_history(moves, remedies(row))


def write_ending(row: "Training", series: Sequence["Series"]) -> None:
    """Print how a training ended."""
    taken = f" after {duration_text(row.training_seconds)}" if row.started else ""
    write(f"\n{row.name} ({row.id}) is {row.status.value}{taken}.")
    if row.reason and row.status.value != "COMPLETE":
        write_fields({"reason": row.reason})
    write_outputs(row)
    write_metrics(series)
    write_commands([*remedies(row), f"makerflow training show {row.name}"])


def head_fields(row: "Training | Tuning") -> dict[str, str]:
    """What is known of it beside its settings."""
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
    }


def write_hyperparameters(spec: "TrainingSettings") -> None:
    """Print those that have one value."""
    if spec.algorithm.hyperparameters:
        write_section("Hyperparameters")
        write_fields({pair.name: pair.value or '""' for pair in spec.algorithm.hyperparameters})


def write_history(moves: Sequence["Move"], commands: Sequence[str]) -> None:
    """Print what its status was, and what to do next."""
    write_section("History")
    write_table(documents.MOVE_HEADINGS, [documents.move_row(move) for move in moves], empty="")
    write_commands(commands)


def write_commands(commands: Sequence[str]) -> None:
    """Print what to do next."""
    write_section("Next")
    for command in commands:
        write(f"  {command}")


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


def write_outputs(row: "Training") -> None:
    """Print where its outputs are."""
    arrived = documents.uploads_of(row)
    fields = {}
    for kind, path in documents.outputs_of(row).items():
        upload = arrived.get(kind)
        fields[kind] = f"{path}  ({_amount(upload)})" if upload else path
    if fields:
        write_section("Outputs")
        write_fields(fields)


def _amount(upload: "Uploaded") -> str:
    if upload.output == "log" and not upload.files:
        return "no file is known to have arrived"
    return f"{count_text(upload.files, 'file')}, {size_text(upload.bytes)}"


def write_metrics(series: Sequence["Series"]) -> None:
    """Print all metrics."""
    if series:
        write_section("Metrics")
        write_table(documents.SERIES_HEADINGS, [documents.series_row(one) for one in series], empty="")


def _write_monitoring(workers: Sequence["WorkerMonitoring"]) -> None:
    if workers:
        write_section("Monitoring")
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


def write_section(title: str) -> None:
    """Begin a part of what is shown."""
    write(f"\n{title}")
