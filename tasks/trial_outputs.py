"""What the trials of a tuning have made: which of it stays when the tuning is over."""

from blocks.connections.platform import Platform
from blocks.domain.plan import OutputKind
from blocks.domain.trials import ranked
from blocks.registry.records import Trial, Tuning
from tasks.planning import trial_folders


def remove_outputs(platform: Platform, row: Tuning) -> None:
    """Remove the folders of all trials but the best ones, which `keep` says how many are.

    The best one's always stay, and those of the best that has left a model: one that was ended early has left none.

    Raises:
        StorageUnavailableError: A store does not answer.
        AccessDeniedError: It does not allow to delete.
    """
    trials = platform.registry.tunings.trials(row.id)
    best = ranked(row.spec.objective.type, trials)
    with_model = next((trial for trial in best if _has_left_model(platform, trial)), None)
    stay = {trial.number for trial in (*best[: row.spec.trainings.kept], with_model) if trial}
    for trial in trials:
        if trial.number not in stay:
            for kind in (OutputKind.MODEL, OutputKind.CHECKPOINT):
                for folder in trial_folders(row, trial, kind):
                    platform.storage(folder).delete(folder)


def _has_left_model(platform: Platform, trial: Trial) -> bool:
    uploaded = platform.registry.trainings.get(trial.training_id).uploaded
    return any(arrived.output is OutputKind.MODEL for arrived in uploaded)
