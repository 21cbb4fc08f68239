"""The steps of an experiment."""

from blocks.connections.platform import open_platform
from blocks.domain.errors import PermanentError
from blocks.domain.lifecycle import ExperimentStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.records import Experiment
from blocks.upkeep.scratch import mark_owner
from tasks.engine import step


@step("register")
def register_experiment(spec: ExperimentSpec, key: str) -> str:
    """Make the row; its id. `key` names the request, so that asking again finds the row.

    Raises:
        AlreadyExistsError: The name is taken.
    """
    return open_platform().registry.experiments.create(spec, id=f"exp-{key.replace('-', '')[:24]}").id


@step("prepare")
def prepare_experiment(experiment_id: str) -> Experiment:
    """Make what the experiment needs (the folder of its TensorBoard), then ACTIVE.

    Raises:
        PermanentError: The folder cannot be made; the row is then CREATE FAILED and can be retried.
    """
    platform = open_platform()
    experiments = platform.registry.experiments
    row = experiments.get(experiment_id)
    if row.status is ExperimentStatus.ACTIVE:
        return row
    if row.status is not ExperimentStatus.CREATE_IN_PROGRESS:
        experiments.move(experiment_id, ExperimentStatus.CREATE_IN_PROGRESS)
    try:
        mark_owner(platform.settings.home / "tensorboard" / experiment_id, platform.registry.id)
    except OSError as error:
        reason = f"the folder of its TensorBoard cannot be made: {error}. Mend that, then `makerflow experiment retry`."
        experiments.move(experiment_id, ExperimentStatus.CREATE_FAILED, reason)
        raise PermanentError(reason) from error
    return experiments.move(experiment_id, ExperimentStatus.ACTIVE)


@step("change")
def change_experiment_row(experiment_id: str, description: str) -> Experiment:
    """Write another description.

    Raises:
        pydantic.ValidationError: It is too long.
    """
    experiments = open_platform().registry.experiments
    name = experiments.get(experiment_id).name
    spec = ExperimentSpec(name=name, description=description)  # refuses what a creation would refuse
    return experiments.change(experiment_id, description=spec.description)


@step("delete")
def delete_experiment_row(experiment_id: str) -> None:
    """Delete the experiment.

    Raises:
        InUseError: Trainings belong to it; they are named.
        BusyError: It is being created.
    """
    open_platform().registry.experiments.delete(experiment_id)
