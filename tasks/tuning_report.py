"""The page where a user looks at a tuning: progress, pictures of its trials, what matters, and a table of trials.

All of it is bounded, however many trials there are.
"""

import math
from collections.abc import Sequence

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.trials import ranked
from blocks.gateway.routes import BOARDS_PREFIX
from blocks.registry.records import Trial, Tuning
from blocks.search.importance import importances
from tasks.markdown import image, table
from tasks.tuning_plots import parallel_plot, progress_plot

SHOWN_TRIALS = 50
SHOWN_PARAMETERS = 20
SHOWN_CHARACTERS = 120
"""Of a value or a reason in the table of trials."""

_FAILED = (
    TuningStatus.FAIL_HYPERPARAMETER_TUNING,
    TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS,
    TuningStatus.CREATE_FAILED,
)


def tuning_report(row: Tuning, trials: Sequence[Trial], warning: str = "", running: str = "") -> str:
    """The report of one tuning as Markdown.

    Args:
        row: The tuning.
        trials: All of them.
        warning: What it has to be warned of, on top.
        running: What the workers of the trials use that run.
    """
    best = ranked(row.spec.objective.type, trials)
    parts = [f"## {row.status}\n\n{_quoted(row.reason)}"] if row.status in _FAILED else []
    parts += [f"## Warning\n\n{_quoted(warning)}"] if warning else []
    parts += [_progress(row, trials, best[:1]), _pictures(row, trials), _importances(row, trials)]
    parts += [running, _trials(row, trials, best), _elsewhere(row)]
    return "\n\n".join(part for part in parts if part)


def _quoted(text: str) -> str:
    """A text of anybody's, as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines()[:60])


def _progress(row: Tuning, trials: Sequence[Trial], best: Sequence[Trial]) -> str:
    spec = row.spec
    finished = row.completed + row.failed
    rows = {
        "Status": f"{row.status}: {row.reason}" if row.reason else row.status,
        "Trainings": f"{finished} of {spec.max_trainings} have run; {row.completed} completed, {row.failed} failed, "
        f"{row.running} run now",
        "Objective": spec.objective.summary,
        "Goal": "" if spec.objective.goal is None else f"{spec.objective.goal:g}",
        "Strategy": f"{spec.search.strategy}, random state {row.random_state}",
        "Learned from": f"{len(row.learned)} trials of {spec.search.warm_start}" if spec.search.warm_start else "",
        "Time": f"{row.tuning_seconds / 60:.1f} minutes",
        "Remaining": _remaining(row, finished),
    }
    if best:
        rows["Best"] = f"{best[0].objective:.6g} by trial {best[0].number}"
        rows |= {f"Best --{name}": value for name, value in list(best[0].parameters.items())[:SHOWN_PARAMETERS]}
    return table(("Tuning", "Value"), [(name, str(value)) for name, value in rows.items() if value != ""])


def _remaining(row: Tuning, finished: int) -> str:
    if row.status is not TuningStatus.RUNNING or not finished:
        return ""
    return f"about {row.tuning_seconds / finished * (row.spec.max_trainings - finished) / 60:.1f} minutes"


def _pictures(row: Tuning, trials: Sequence[Trial]) -> str:
    drawn = {
        "Trials and the best so far": progress_plot(row, trials),
        "Parallel coordinates": parallel_plot(row, trials),
    }
    return "\n\n".join(image(title, svg.encode()) for title, svg in drawn.items() if svg)


def _importances(row: Tuning, trials: Sequence[Trial]) -> str:
    """Of those that SUCCEEDED, for what was ended early has not shown what its point is worth."""
    done = [(t.parameters, t.objective) for t in trials if t.status is TrialStatus.SUCCEEDED]
    known = [(point, value) for point, value in done if value is not None and math.isfinite(value)]
    shares = importances(row.spec.search.parameters, row.spec.objective.type, known)
    rows = [(f"--{name}", f"{share:.0%}") for name, share in list(shares.items())[:SHOWN_PARAMETERS]]
    return table(("Parameter", "Importance for being among the best tenth"), rows) if rows else ""


def _trials(row: Tuning, trials: Sequence[Trial], best: Sequence[Trial]) -> str:
    if not trials:
        return ""
    running = [t for t in trials if t.status in (TrialStatus.CREATED, TrialStatus.RUNNING)]
    latest = sorted(trials, key=lambda trial: trial.changed, reverse=True)
    chosen = {t.number: t for t in (*running[:SHOWN_TRIALS], *best[: SHOWN_TRIALS // 2], *latest)}
    shown = sorted(list(chosen.values())[:SHOWN_TRIALS], key=lambda trial: trial.number)
    names = [parameter.name for parameter in row.spec.search.parameters[:SHOWN_PARAMETERS]]
    rows = [
        (
            str(t.number),
            t.status.value,
            "" if t.objective is None else f"{t.objective:.6g}",
            *(t.parameters.get(name, "") for name in names),
            t.reason.splitlines()[0] if t.reason else "",
        )
        for t in shown
    ]
    more = (
        f"\n\n{len(trials) - len(shown)} more: `makerflow tuning trials {row.name}`."
        if len(shown) < len(trials)
        else ""
    )
    head = ("Trial", "Status", row.spec.objective.metric, *names, "Reason")
    return table(head, rows, most=SHOWN_CHARACTERS) + more


def _elsewhere(row: Tuning) -> str:
    board = f"{BOARDS_PREFIX}/{row.experiment_id}/"
    return (
        f"TensorBoard, with all trials and their hyperparameters: [{board}]({board}) when `makerflow up` serves this "
        f"page, else `makerflow experiment tensorboard {row.experiment_name}`.\n\n"
        f"Trials: `makerflow tuning trials {row.name}`. Logs of one: `makerflow training logs {row.name}/1`."
    )
