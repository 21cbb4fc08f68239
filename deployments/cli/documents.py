"""The JSON documents and the tables of resources: what every command that shows one has in common."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deployments.cli.fields import duration_text, pair_text, value_text

if TYPE_CHECKING:
    from blocks.domain.plan import Uploaded
    from blocks.domain.specs import TrainingSettings
    from blocks.registry.records import (
        Experiment,
        Move,
        Series,
        Template,
        TemplateSummary,
        Training,
        TrainingSummary,
        Trial,
        TuningSummary,
    )

SUMMARY_FIELDS = ("id", "name", "status", "reason", "description", "tags", "created", "changed", "started", "ended")


def summary_of(row: "TrainingSummary | TuningSummary") -> dict[str, Any]:
    """What lists show of a training and of a tuning alike."""
    found = row.model_dump(mode="json", include=set(SUMMARY_FIELDS))
    experiment = {"id": row.experiment_id, "name": row.experiment_name}
    return {name: found[name] for name in SUMMARY_FIELDS} | {"experiment": experiment}


def training_summary(row: "TrainingSummary") -> dict[str, Any]:
    """A training as a list shows it."""
    return summary_of(row) | {"training_seconds": round(row.training_seconds, 3)}


def training_document(row: "Training", series: Sequence["Series"]) -> dict[str, Any]:
    """A training with its settings, outputs and metrics."""
    return training_summary(row) | {
        "spec": row.spec.model_dump(mode="json"),
        "template": row.template.model_dump(mode="json") if row.template else None,
        "hyperparameters": {pair.name: pair.value for pair in row.spec.algorithm.hyperparameters},
        "outputs": outputs_of(row),
        "uploaded": [
            upload.model_dump(mode="json", include={"output", "path", "files", "bytes"}) for upload in row.uploaded
        ],
        "metrics": {one.name: one.model_dump(mode="json", exclude={"name"}) for one in series},
    }


def outputs_of(row: "Training") -> dict[str, str]:
    """Kind of output to where it goes; empty before the run was planned. Of a trial's only what has arrived."""
    if row.plan:
        return {output.kind.value: output.path for output in row.plan.outputs}
    return {kind: upload.path for kind, upload in uploads_of(row).items()}


def uploads_of(row: "Training") -> "dict[str, Uploaded]":
    """Kind of output to what has arrived of it: of worker 0, or of a further one where that one left nothing."""
    found: dict[str, Uploaded] = {}
    for upload in row.uploaded:  # a further worker's place is below that of worker 0
        kind = upload.output.value
        if kind not in found or len(upload.path) < len(found[kind].path):
            found[kind] = upload
    return found


def template_summary(row: "TemplateSummary") -> dict[str, Any]:
    """A template as a list shows it."""
    return row.model_dump(mode="json", include={"id", "name", "description", "tags", "created", "changed"})


def template_document(row: "Template") -> dict[str, Any]:
    """A template with its settings."""
    return template_summary(row) | {
        "spec": row.spec.model_dump(mode="json"),
        "hyperparameters": {pair.name: pair.value for pair in row.spec.algorithm.hyperparameters},
    }


def settings_fields(spec: "TrainingSettings") -> dict[str, str]:
    """What a training, a template, or each training of a tuning asks for; hyperparameters are shown apart."""
    provided = spec.algorithm.provided.value
    return {
        "algorithm": spec.algorithm.path or ("" if provided == "own" else f"provided: {provided}"),
        "entry point": spec.algorithm.entry_point,
        "image": spec.instances.image,
        "flavor": spec.instances.flavor,
        "workers": str(spec.instances.workers),
        **{f"dataset {dataset.name}": dataset.path for dataset in spec.inputs.datasets},
        "input checkpoint": spec.inputs.checkpoint,
        "output": spec.outputs.path,
        "checkpoint output": spec.outputs.checkpoint,
        "time limit": duration_text(spec.limits.max_minutes * 60),
        "data storage": f"{spec.limits.storage_gb} GB",
        "log management": "on" if spec.limits.log_management else "",
        "metric expressions": "\n".join(spec.metrics.expressions),
        "metrics of": "all workers" if spec.metrics.all_workers else "",
    }


def experiment_document(row: "Experiment") -> dict[str, Any]:
    """An experiment."""
    return row.model_dump(mode="json")


def history_document(moves: Sequence["Move"]) -> list[dict[str, Any]]:
    """Every move of a status."""
    return [move.model_dump(mode="json") for move in moves]


def training_row(row: "TrainingSummary") -> list[str]:
    """One line of a list of trainings; see `TRAINING_HEADINGS`."""
    return [
        row.name,
        row.status.value,
        row.experiment_name,
        duration_text(row.training_seconds) if row.started else "",
        time_text(row.created),
        pair_text(row.tags),
        row.id,
        reason_line(row),
    ]


def reason_line(row: "TrainingSummary | TuningSummary | Trial") -> str:
    """The first line of why it stands where it does, when that is something to look into."""
    return "" if row.status.value in _AS_WANTED else (row.reason.splitlines() or [""])[0]


_AS_WANTED = ("RUNNING", "COMPLETE IN PROGRESS", "COMPLETE", "SUCCEEDED")

TRAINING_HEADINGS = ("NAME", "STATUS", "EXPERIMENT", "TRAINING TIME", "CREATED", "TAGS", "ID", "REASON")


def series_row(one: "Series") -> list[str]:
    """One line of a table of metrics; see `SERIES_HEADINGS`."""
    last = one.last_text if one.last is None else value_text(one.last)
    return [
        one.name,
        last,
        str(one.last_step),
        _at(one.min, one.min_step),
        _at(one.max, one.max_step),
        str(one.count),
        str(one.not_finite or ""),
    ]


SERIES_HEADINGS = ("METRIC", "LAST", "STEP", "MIN", "MAX", "REPORTS", "NOT FINITE")


def move_row(move: "Move") -> list[str]:
    """One line of a history; see `MOVE_HEADINGS`."""
    reason = (move.reason.splitlines() or [""])[0]
    return [time_text(move.at), move.target, reason]


MOVE_HEADINGS = ("AT", "STATUS", "REASON")


def time_text(at: datetime | None) -> str:
    """A time in the reader's time zone; empty for None."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _at(value: float | None, step: int | None) -> str:
    return "" if value is None else f"{value_text(value)} @ {step}"
