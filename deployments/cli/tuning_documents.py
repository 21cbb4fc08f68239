"""The JSON documents and the tables of tunings and their trials."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deployments.cli.documents import outputs_of, reason_line, summary_of, time_text
from deployments.cli.fields import count_text, duration_text, pair_text, point_text, value_text

if TYPE_CHECKING:
    from blocks.domain.parameters import ParameterSpec
    from blocks.domain.tunings import TuningSpec
    from blocks.registry.records import Training, Trial, Tuning, TuningSummary

TUNING_HEADINGS = (
    "NAME",
    "STATUS",
    "EXPERIMENT",
    "TIME TAKEN",
    "COMPLETED",
    "RUNNING",
    "FAILED",
    "BEST",
    "OBJECTIVE",
    "CREATED",
    "TAGS",
    "ID",
    "REASON",
)
TRIAL_HEADINGS = ("NUMBER", "STATUS", "OBJECTIVE", "STEP", "PARAMETERS", "TRAINING TIME", "REASON")


def trial_name(tuning: str, number: int) -> str:
    """The name of the training that is a trial."""
    return f"{tuning}/{number}"


def tuning_summary(row: "TuningSummary") -> dict[str, Any]:
    """A tuning as a list shows it."""
    best = None
    if row.best_number is not None:
        name = trial_name(row.name, row.best_number)
        best = {"number": row.best_number, "name": name, "objective": row.best_value}
    return summary_of(row) | {
        "tuning_seconds": round(row.tuning_seconds, 3),
        **{count: getattr(row, count) for count in ("completed", "running", "failed", "killed")},
        "best": best,
    }


def tuning_document(row: "Tuning", best: "Trial | None", training: "Training | None") -> dict[str, Any]:
    """A tuning with its settings, and its best trial with what that has made.

    Args:
        row: The tuning.
        best: Its best trial, if it has one.
        training: That one's training.
    """
    found = None
    if best is not None:
        found = trial_document(row.name, best) | {"outputs": outputs_of(training) if training else {}}
    return tuning_summary(row) | {
        "best": found,
        "max_trainings": row.spec.max_trainings,
        "random_state": row.random_state,
        "deadline": row.deadline.isoformat() if row.deadline else None,
        "learned": len(row.learned),
        "hyperparameters": {pair.name: pair.value for pair in row.spec.algorithm.hyperparameters},
        "spec": row.spec.model_dump(mode="json"),
        "template": row.template.model_dump(mode="json") if row.template else None,
    }


def trial_document(tuning: str, trial: "Trial") -> dict[str, Any]:
    """A trial as a list shows it."""
    return {
        "number": trial.number,
        "name": trial_name(tuning, trial.number),
        "training_id": trial.training_id,
        "status": trial.status.value,
        "reason": trial.reason,
        "objective": trial.objective,
        "objective_step": trial.objective_step,
        "hyperparameters": trial.parameters,
        "seconds": round(trial.training_seconds, 3),
        "runs": trial.runs,
    }


def tuning_row(row: "TuningSummary") -> list[str]:
    """One line of a list of tunings; see `TUNING_HEADINGS`."""
    return [
        row.name,
        row.status.value,
        row.experiment_name,
        duration_text(row.tuning_seconds) if row.started else "",
        str(row.completed),
        str(row.running),
        str(row.failed),
        "" if row.best_number is None else trial_name(row.name, row.best_number),
        value_text(row.best_value),
        time_text(row.created),
        pair_text(row.tags),
        row.id,
        reason_line(row),
    ]


def trial_row(trial: "Trial") -> list[str]:
    """One line of a list of trials; see `TRIAL_HEADINGS`."""
    return [
        str(trial.number),
        trial.status.value,
        value_text(trial.objective),
        value_text(trial.objective_step),
        point_text(trial.parameters),
        duration_text(trial.training_seconds) if trial.started else "",
        reason_line(trial),
    ]


def best_first(trials: "Sequence[Trial]", spec: "TuningSpec") -> "list[Trial]":
    """Trials by their objective values, those without one that counts last, by their numbers."""
    from blocks.domain.trials import has_counting_value, ranked

    others = [trial for trial in trials if not has_counting_value(trial)]
    return ranked(spec.objective.type, trials) + sorted(others, key=lambda trial: trial.number)


def progress_text(row: "TuningSummary", most: int) -> str:
    """How many trainings have run, run and have failed."""
    parts = [f"{row.completed + row.failed} of {count_text(most, 'training')} have run"]
    parts += [f"{count} {word}" for word in ("running", "failed", "killed") if (count := getattr(row, word))]
    return ", ".join(parts)


def search_fields(row: "Tuning") -> dict[str, str]:
    """What is searched, for what, and when it ends."""
    spec = row.spec
    search, objective, trainings, stopping = spec.search, spec.objective, spec.trainings, spec.early_stopping
    bayesian = search.strategy.value == "BAYESIAN_OPTIMIZATION"
    return {
        "strategy": search.strategy.value + (f" ({search.sampler.value})" if bayesian else ""),
        "random state": str(row.random_state),
        "warm start": f"{search.warm_start}: {count_text(len(row.learned), 'trial')}" if search.warm_start else "",
        "objective": objective.summary,
        "goal": value_text(objective.goal),
        "trainings": f"{spec.max_trainings}, {trainings.parallel_trainings} at once",
        "failed at most": value_text(trainings.max_failed_trainings),
        "tuning time limit": duration_text(trainings.max_tuning_minutes and trainings.max_tuning_minutes * 60),
        "early stopping": ""
        if stopping.rule.value == "NONE"
        else f"{stopping.rule.value} of at least {stopping.min_trainings_required} from report {stopping.start_step}",
        "keep": trainings.keep,
        "metrics": ", ".join(spec.metrics.names),
    }


def range_text(parameter: "ParameterSpec") -> str:
    """A range as it can be typed again behind `--param NAME=`."""
    if parameter.values:
        return f"{parameter.type.value}[{','.join(parameter.values)}]"
    step = f"step={parameter.step}" if parameter.step else ""
    parts = [parameter.min, parameter.max, step, "log" if parameter.log else ""]
    return f"{parameter.type.value}[{','.join(part for part in parts if part)}]"
