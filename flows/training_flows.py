"""The flows of a training's life, as deployments run them: create, resume, stop, copy, change, delete."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled
from pydantic import ValidationError

from blocks.connections.platform import open_platform
from blocks.domain.copies import settings_of_texts
from blocks.domain.errors import IllegalTransitionError, InvalidInputError, NotFoundError, RunFailedError
from blocks.domain.lifecycle import UNDER_WAY, TrainingStatus
from blocks.domain.specs import DatasetSpec, NamedValue, TrainingSpec
from blocks.domain.template_overrides import TemplatedTrainingSpec
from blocks.registry.records import Training
from tasks.current_run import is_scheduled, run_key
from tasks.engine import run_flow
from tasks.following import follow_workers, report_training
from tasks.liveness import flow
from tasks.log_collection import history_logged
from tasks.page_log import tell_page, told_on_page
from tasks.training import (
    change_training_row,
    check_access,
    conclude,
    delete_training_row,
    launch_workers,
    made_already,
    plan_run,
    refuse_elsewhere,
    refuse_trial,
    register_repeated,
    register_training,
    remove_workers,
    settings_of,
    stop_workers,
    training_id_of,
)
from tasks.trouble import told_when_given_up

UNTIL_LAUNCHED = (check_access, plan_run, launch_workers)
"""The steps that a training begins with."""


def _stop_when_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancelled in the UI: end the workers. It runs in another process, so it knows the flow run only."""
    with suppress(NotFoundError, IllegalTransitionError):  # cancelled before there was a row, or when it was over
        row = training_of(flow_run)
        if row.status in UNDER_WAY:
            run_flow(stop_training_flow, row.id)


def training_of(flow_run: FlowRun) -> Training:
    """The training that a run of a flow that creates or follows one is about.

    Raises:
        NotFoundError: It is about none, or ended before there was one.
    """
    trainings = open_platform().registry.trainings
    try:
        return trainings.get(training_id_of(str(flow_run.id)))
    except NotFoundError:
        if "key" in flow_run.parameters:
            return trainings.get(flow_run.parameters["key"])
        if "spec" not in flow_run.parameters or flow_run.auto_scheduled:
            raise  # the name in a schedule's settings is that of the training which they are of
        # The flow took up one that an earlier run of the same settings had left.
        row = _of_settings(flow_run.parameters["spec"])
        if row is None:
            raise
        return row


@flow(name="create-training", flow_run_name="{spec.name}", on_cancellation=[_stop_when_cancelled])
def create_training_flow(spec: TrainingSpec) -> Training | State[Any]:
    """Create a training and follow it to its end.

    Args:
        spec: What is run, on which data, and where its results go. On a schedule each training gets a name of its
            own, made from this one.
    """
    return _drive(_registered(spec))


@flow(name="create-training-from-template", flow_run_name="{spec.name}", on_cancellation=[_stop_when_cancelled])
def create_training_from_template_flow(spec: TemplatedTrainingSpec) -> Training | State[Any]:
    """Create a training from a template and follow it to its end.

    Args:
        spec: Which template, and what is given beside it. What is left empty is as in the template.
    """
    return _drive(_registered(spec))


@flow(name="copy-training", flow_run_name="{original}", on_cancellation=[_stop_when_cancelled])
def copy_training_flow(
    original: str,
    name: str = "",
    hyperparameters: tuple[NamedValue, ...] = (),
    datasets: tuple[DatasetSpec, ...] = (),
    settings: tuple[NamedValue, ...] = (),
) -> Training | State[Any]:
    """Create a training with the settings of another, any of which can be overridden, and follow it to its end.

    Args:
        original: The training to copy: its name or id.
        name: The name of the new one; empty for one that is made from the other's. On a schedule each training gets a
            name of its own, made from this one.
        hyperparameters: Added to the other's; one of the same name takes its place.
        datasets: Added to the other's; one of the same name takes its place.
        settings: Whatever else takes the place of the other's: the name that each has in Python and YAML, such as
            workers, max_minutes or output, and its value; a list as JSON.
    """
    key = run_key()
    if made := made_already(key):
        return _drive(made)
    row = open_platform().registry.trainings.get(original)
    others = settings_of_texts(settings)
    spec = row.current_spec.changed(**others).changed(hyperparameters=hyperparameters, datasets=datasets)
    if name and not is_scheduled():
        return _drive(register_training(spec.changed(name=name), key))
    return _drive(register_repeated(spec.changed(name=name or spec.name), key))


@flow(name="resume-training", flow_run_name="{key}", on_cancellation=[_stop_when_cancelled])
def resume_training_flow(key: str) -> Training | State[Any]:
    """Go on with a training whose flow died, or whose creation failed.

    Args:
        key: Its name or id.
    """
    row = open_platform().registry.trainings.get(key)
    refuse_trial(row, "resume")
    refuse_elsewhere(row)
    return _drive(row.id)


@flow(name="stop-training", flow_run_name="{key}")
def stop_training_flow(key: str, grace_seconds: float = 10) -> Training:
    """Stop a training: its workers are ended.

    Args:
        key: Its name or id.
        grace_seconds: Seconds between asking the workers to end and ending them by force.
    """
    training_id = open_platform().registry.trainings.get(key).id
    stop_workers(training_id, grace_seconds)
    with _in_charge(training_id):
        return _follow_and_finish(training_id)


@flow(name="change-training", flow_run_name="{key}")
def change_training_flow(
    key: str, description: str | None = None, tags: tuple[NamedValue, ...] | None = None
) -> Training:
    """Change the description or the tags of a training.

    Args:
        key: Its name or id.
        description: Free text, at most 1,000 characters; left empty: as it is.
        tags: All of them, at most 10; left empty: as they are.
    """
    named = None if tags is None else {tag.name: tag.value for tag in tags}
    row = change_training_row(open_platform().registry.trainings.get(key).id, description, named)
    tell_page(f"training {row.name}: changed")
    return row


@flow(name="delete-training", flow_run_name="{key}")
def delete_training_flow(key: str) -> None:
    """Delete a training that is over; what it wrote to its output paths stays.

    Args:
        key: Its name or id.
    """
    row = open_platform().registry.trainings.get(key)
    delete_training_row(row.id)
    tell_page(f"training {row.name}: deleted")


def asked_for(spec: TrainingSpec | TemplatedTrainingSpec | Mapping[str, Any]) -> TrainingSpec | TemplatedTrainingSpec:
    """The settings of a training, or of one that is made from a template, checked."""
    if isinstance(spec, TemplatedTrainingSpec) or (isinstance(spec, Mapping) and "template" in spec):
        return TemplatedTrainingSpec.of(spec)
    return TrainingSpec.of(spec)


def _of_settings(spec: Mapping[str, Any]) -> Training | None:
    """The training that has the name and the settings; None when there is none, or when they are no settings."""
    platform = open_platform()
    try:
        asked = asked_for(spec)
        row = platform.registry.trainings.get(asked.name)
        return row if row.spec == settings_of(platform, asked)[0] else None
    except (NotFoundError, InvalidInputError, ValidationError):
        return None


def _registered(asked: TrainingSpec | TemplatedTrainingSpec) -> str:
    register = register_repeated if is_scheduled() else register_training
    return register(asked, run_key())


def _drive(training_id: str) -> Training | State[Any]:
    with _in_charge(training_id):
        for step in UNTIL_LAUNCHED:
            step(training_id)
        row = _follow_and_finish(training_id)
    again = f"A retry does not run it again; copy it: copy-training, or `makerflow training copy {row.name}`."
    if row.status is TrainingStatus.STOPPED:
        return Cancelled(message=f"{row.reason}. {again}")
    if row.status is TrainingStatus.FAIL_TRAIN:
        raise RunFailedError("training", row.name, row.status, f"{row.reason}\n{again}")
    if row.status is not TrainingStatus.COMPLETE:
        raise RunFailedError("training", row.name, row.status, row.reason)
    return row


@contextmanager
def _in_charge(training_id: str) -> Iterator[None]:
    """Nobody else works on the training meanwhile, and how it went is told."""
    platform = open_platform()
    with (
        platform.registry.lease(training_id),
        told_when_given_up(platform, training_id),
        history_logged(platform, training_id),
        told_on_page(platform, training_id),
    ):
        yield


def _follow_and_finish(training_id: str) -> Training:
    follow_workers(training_id)
    remove_workers(training_id)
    row = conclude(training_id)
    report_training(open_platform(), training_id)
    return row
