"""An experiment's life: create, retry, change, delete."""

from collections.abc import Mapping
from typing import Any

from blocks.connections.platform import open_platform
from blocks.domain.specs import ExperimentSpec
from blocks.registry.records import Experiment
from tasks.current_run import run_key
from tasks.engine import run_flow
from tasks.experiment import change_experiment_row, delete_experiment_row, prepare_experiment, register_experiment
from tasks.liveness import flow
from tasks.page_log import tell_page


@flow(name="create-experiment", flow_run_name="{spec.name}")
def create_experiment_flow(spec: ExperimentSpec) -> Experiment:
    """Create an experiment.

    Args:
        spec: What the experiment is called.
    """
    return _prepared(register_experiment(spec, run_key()))


@flow(name="retry-experiment", flow_run_name="{key}")
def retry_experiment_flow(key: str) -> Experiment:
    """Recover an experiment whose creation failed.

    Args:
        key: Its name or id.
    """
    return _prepared(open_platform().registry.experiments.get(key).id)


@flow(name="change-experiment", flow_run_name="{key}")
def change_experiment_flow(key: str, description: str) -> Experiment:
    """Change the description of an experiment.

    Args:
        key: Its name or id.
        description: Free text, at most 1,000 characters.
    """
    row = change_experiment_row(open_platform().registry.experiments.get(key).id, description)
    tell_page(f"experiment {row.name}: changed")
    return row


@flow(name="delete-experiment", flow_run_name="{key}")
def delete_experiment_flow(key: str) -> None:
    """Delete an experiment that holds no trainings.

    Args:
        key: Its name or id.
    """
    row = open_platform().registry.experiments.get(key)
    delete_experiment_row(row.id)
    tell_page(f"experiment {row.name}: deleted")


def create_experiment(spec: ExperimentSpec | Mapping[str, Any]) -> Experiment:
    """Create an experiment.

    Raises:
        InvalidInputError: The settings are refused.
        AlreadyExistsError: The name is taken.
    """
    return run_flow(create_experiment_flow, ExperimentSpec.of(spec))


def retry_experiment(key: str) -> Experiment:
    """Recover an experiment, by name or id, whose creation failed; one that is ACTIVE stays as it is."""
    return run_flow(retry_experiment_flow, key)


def change_experiment(key: str, *, description: str) -> Experiment:
    """Change the description of an experiment, by name or id.

    Raises:
        pydantic.ValidationError: It is too long.
    """
    return run_flow(change_experiment_flow, key, description)


def delete_experiment(key: str) -> None:
    """Delete an experiment, by name or id.

    Raises:
        InUseError: Trainings belong to it; they are named.
    """
    run_flow(delete_experiment_flow, key)


def _prepared(experiment_id: str) -> Experiment:
    row = prepare_experiment(experiment_id)
    tell_page(f"experiment {row.name}: {row.status}")
    return row
