"""`makerflow tuning monitor`: where the trials that run run, and what their workers use now."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from blocks.domain.lifecycle import TRIAL_FINISHED, TrialStatus
from blocks.domain.usage import UsageKind
from deployments.cli.documents import time_text
from deployments.cli.fields import value_text
from deployments.cli.output import write, write_document, write_table
from deployments.cli.training_monitor import figures_document
from deployments.cli.tuning_documents import trial_name

if TYPE_CHECKING:
    from blocks.registry.database import Registry
    from blocks.registry.records import Training, Trial, Tuning
    from blocks.registry.usage_records import WorkerMonitoring

HEADINGS = ("TRIAL", "RANK", "HOST", "FLAVOR", "CPU %", "MEMORY MIB", "GPU %", "GPU MIB", "LAST SAMPLE")
_SHOWN = (UsageKind.CPU, UsageKind.MEMORY, UsageKind.GPU, UsageKind.GPU_MEMORY)

Watched = Mapping[int, "tuple[Training, Sequence[WorkerMonitoring]]"]
"""By the number of a trial."""


def running_trials(registry: "Registry", row: "Tuning") -> Watched:
    """The trials that run, each with what is known of its workers."""
    return {
        trial.number: (registry.trainings.get(trial.training_id), registry.monitoring.workers(trial.training_id))
        for trial in registry.tunings.trials(row.id)
        if _runs(trial)
    }


def show(row: "Tuning", watched: Watched, *, as_json: bool) -> None:
    """Print one line for each worker, or a document with all figures."""
    if as_json:
        trials = [
            {
                "number": number,
                "name": training.name,
                "training_id": training.id,
                "instances": [figures_document(training, worker) for worker in workers],
            }
            for number, (training, workers) in watched.items()
        ]
        write_document({"id": row.id, "name": row.name, "status": row.status.value, "trials": trials})
        return
    lines = [_line(number, row, worker) for number, (_, workers) in watched.items() for worker in workers]
    if lines:
        write_table(HEADINGS, lines, empty="")
        write(f"\nOver time: makerflow tuning monitor {row.name} --trial {next(iter(watched))}")
    elif watched:
        write(
            f"{row.name}: its trials have just been started; workers are looked at after a second for the first time."
        )
    else:
        last = trial_name(row.name, row.best_number or 1)
        write(
            f"{row.name} is {row.status.value}, and no trial of it runs. One of them: makerflow training monitor {last}"
        )


def _runs(trial: "Trial") -> bool:
    return trial.status not in TRIAL_FINISHED and trial.status is not TrialStatus.KILLED


def _line(number: int, row: "Tuning", worker: "WorkerMonitoring") -> list[str]:
    used = [value_text(worker.figures[kind].last) if kind in worker.figures else "" for kind in _SHOWN]
    place = [str(number), str(worker.rank), worker.host, row.spec.instances.flavor]
    return [*place, *used, time_text(worker.sampled)]
