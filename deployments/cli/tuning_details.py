"""`makerflow tuning show` and `trial`, and what is printed when a tuning has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.domain.tunings import MAX_TRAININGS
from deployments.cli import documents
from deployments.cli.documents import time_text
from deployments.cli.fields import duration_text, value_text
from deployments.cli.output import clean_block, write, write_fields
from deployments.cli.training_details import (
    head_fields,
    write_commands,
    write_history,
    write_hyperparameters,
    write_metrics,
    write_outputs,
    write_section,
)
from deployments.cli.tuning_documents import (
    progress_text,
    range_text,
    search_fields,
    trial_document,
    trial_name,
    tuning_document,
)

if TYPE_CHECKING:
    from blocks.registry.database import Registry
    from blocks.registry.records import Move, Series, Training, Trial, Tuning


@dataclass(frozen=True)
class TuningDetails:
    """A tuning, its best trial, and that one's training."""

    row: "Tuning"
    best: "Trial | None"
    training: "Training | None"

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        return tuning_document(self.row, self.best, self.training)


def read_details(registry: "Registry", key: str) -> TuningDetails:
    """What the registry has of a tuning.

    Raises:
        NotFoundError: There is none.
    """
    row = registry.tunings.get(key)
    if row.best_number is None:
        return TuningDetails(row, None, None)
    best = registry.tunings.trial(row.id, row.best_number)
    return TuningDetails(row, best, registry.trainings.get(best.training_id))


def remedies(row: "Tuning") -> list[str]:
    """The commands that help with where the tuning stands."""
    name = row.name
    go_on, copy = f"makerflow tuning resume {name}", f"makerflow tuning copy {name}"
    best_first = f"makerflow tuning trials {name} --sort objective"
    match row.status.value:
        case "CREATE FAILED":
            return [go_on, copy]
        case "COMPLETE":
            best = [f"makerflow training metrics {trial_name(name, row.best_number)} --plot"] if row.best_number else []
            return [best_first, *best, _further(row, go_on, copy)]
        case "FAIL HYPERPARAMETER TUNING":
            return [f"makerflow tuning trials {name} --status failed", go_on, copy]
        case "STOPPED":
            return [best_first, go_on, copy]
        case _:
            return [f"makerflow tuning trials {name}", go_on, f"makerflow tuning stop {name}"]


def _further(row: "Tuning", go_on: str, copy: str) -> str:
    """The command that has more trainings run, by what ended a tuning that is complete."""
    spec, objective = row.spec, row.spec.objective
    best, goal = row.best_value, objective.goal
    at_goal = goal is not None and best is not None and objective.type.reaches(best, goal)
    if row.completed + row.failed < spec.max_trainings:
        if at_goal:
            return f"{go_on} --goal A-BETTER-ONE"
        timed_out = row.deadline is not None and row.ended is not None and row.ended >= row.deadline
        minutes = spec.trainings.max_tuning_minutes or 0
        return f"{go_on} --max-tuning-time {2 * minutes:g}m" if timed_out else copy  # there is no other point to try
    more = min(2 * spec.max_trainings, MAX_TRAININGS)
    goes_on = not (at_goal or spec.grid_points or more == spec.max_trainings)
    return f"{go_on} --max-trainings {more}" if goes_on else copy


def show_document(details: TuningDetails, moves: "Sequence[Move]") -> dict[str, Any]:
    """The document of `tuning show --json`."""
    row = details.row
    return details.document | {
        "history": documents.history_document(moves),
        "tensorboard": f"makerflow experiment tensorboard {row.experiment_name}",
        "next": remedies(row),
    }


def write_details(details: TuningDetails, moves: "Sequence[Move]") -> None:
    """Print all that is known of a tuning but its trials."""
    row = details.row
    write_fields(
        {
            **head_fields(row),
            "time taken": duration_text(row.tuning_seconds) if row.started else "",
            "time limit": f"until {time_text(row.deadline)}" if row.deadline else "",
            "progress": progress_text(row, row.spec.max_trainings),
        }
    )
    _write_best(details)
    write_section("Search")
    write_fields(search_fields(row))
    write_section("Parameters")
    write_fields({parameter.name: range_text(parameter) for parameter in row.spec.search.parameters})
    write_section("Settings of each training")
    write_fields(documents.settings_fields(row.spec))
    write_hyperparameters(row.spec)
    write_section("See also")
    write_fields(
        {
            "trials": f"makerflow tuning trials {row.name}",
            "one of them": f"makerflow tuning trial {row.name} NUMBER",
            "its output": f"makerflow training logs {trial_name(row.name, row.best_number or 1)}",
            "plot": f"makerflow tuning plot {row.name}" if row.best_number else "",
            "dashboard": f"makerflow tuning dashboard {row.name}",
            "TensorBoard": f"makerflow experiment tensorboard {row.experiment_name}",
        }
    )
    write_history(moves, remedies(row))


def write_ending(details: TuningDetails) -> None:
    """Print how a tuning ended."""
    row = details.row
    taken = f" after {duration_text(row.tuning_seconds)}" if row.started else ""
    write(f"\n{row.name} ({row.id}) is {row.status.value}{taken}.")
    write_fields({"reason": row.reason, "progress": progress_text(row, row.spec.max_trainings)})
    _write_best(details)
    write_commands([*remedies(row), f"makerflow tuning show {row.name}"])


def trial_details(row: "Tuning", trial: "Trial", training: "Training", series: "Sequence[Series]") -> dict[str, Any]:
    """The document of `tuning trial --json`."""
    found = documents.training_document(training, series)
    own = {name: found[name] for name in ("started", "ended", "outputs", "uploaded", "metrics")}
    every = {"all_hyperparameters": found["hyperparameters"], "next": trial_remedies(row, trial)}
    return trial_document(row.name, trial) | {"is_best": trial.number == row.best_number} | own | every


def trial_remedies(row: "Tuning", trial: "Trial") -> list[str]:
    """Where there is more to be seen of a trial."""
    name = trial_name(row.name, trial.number)
    return [f"makerflow training {verb}" for verb in (f"logs {name}", f"metrics {name} --plot", f"monitor {name}")]


def write_trial(row: "Tuning", trial: "Trial", training: "Training", series: "Sequence[Series]") -> None:
    """Print all that is known of a trial."""
    objective = f"{row.spec.objective.metric}={value_text(trial.objective)} at step {trial.objective_step}"
    write_fields(
        {
            "name": trial_name(row.name, trial.number),
            "training": trial.training_id,
            "status": trial.status.value + (" (the best)" if trial.number == row.best_number else ""),
            "reason": trial.reason,
            "objective": "" if trial.objective is None else objective,
            "created": time_text(trial.created),
            "started": time_text(trial.started),
            "ended": time_text(trial.ended),
            "training time": duration_text(trial.training_seconds) if trial.started else "",
            "runs": str(trial.runs) if trial.runs > 1 else "",
        }
    )
    write_hyperparameters(training.spec)
    write_outputs(training)
    write_metrics(series)
    write_commands(trial_remedies(row, trial))


def _write_best(details: TuningDetails) -> None:
    best = details.best
    if best is None:
        return
    write_section(f"Best: {trial_name(details.row.name, best.number)}")
    step = "" if best.objective_step is None else f"  (step {best.objective_step})"
    ended = "" if best.status.value == "SUCCEEDED" else f"  {best.status.value}"
    metric = details.row.spec.objective.metric
    write_fields({metric: f"{value_text(best.objective)}{step}{ended}", **best.parameters})
    if best.reason:
        write(clean_block(best.reason))
    if details.training is not None:
        write_outputs(details.training)
