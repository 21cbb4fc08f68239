"""What the trials of a tuning have made: which of it stays when the tuning is over."""

from blocks.connections.platform import Platform
from blocks.domain.plan import OutputKind
from blocks.domain.tunings import ObjectiveType
from blocks.registry.records import Trial, Tuning
from tasks.planning import trial_folders


def remove_outputs(platform: Platform, row: Tuning) -> None:
    """Remove the folders of all trials but the best ones, which `keep` says how many are; never the best one's.

    Raises:
        StorageUnavailableError: A store does not answer.
        AccessDeniedError: It does not allow to delete.
    """
    trials = platform.registry.tunings.trials(row.id)
    stay = {trial.number for trial in best_trials(row, trials)[: row.spec.trainings.kept]}
    for trial in trials:
        if trial.number not in stay:
            for kind in (OutputKind.MODEL, OutputKind.CHECKPOINT):
                for folder in trial_folders(row, trial, kind):
                    platform.storage(folder).delete(folder)


def best_trials(row: Tuning, trials: list[Trial]) -> list[Trial]:
    """Those that have an objective value, the best first; of equal ones the earlier first."""
    sign = 1 if row.spec.objective.type is ObjectiveType.MINIMIZE else -1
    known = [trial for trial in trials if trial.objective is not None]
    return sorted(known, key=lambda trial: (sign * (trial.objective or 0.0), trial.number))
