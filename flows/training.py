"""A training's life from Python: create, resume, stop, copy, change, delete."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from prefect import Flow

from blocks.connections.platform import open_platform
from blocks.domain.errors import MakerflowError
from blocks.domain.specs import NamedValue, TrainingSpec
from blocks.domain.template_overrides import TemplatedTrainingSpec
from blocks.registry.names import under_free_name
from blocks.registry.records import Training
from flows.following import TrainingHandle, run_to_end
from flows.training_flows import (
    UNTIL_LAUNCHED,
    asked_for,
    change_training_flow,
    copy_training_flow,
    create_training_flow,
    create_training_from_template_flow,
    delete_training_flow,
    resume_training_flow,
    stop_training_flow,
)
from tasks.current_run import run_key
from tasks.engine import run_flow
from tasks.training import check_settings, register_training, settings_of, taking_up
from tasks.triggering import handed_over

__all__ = [
    "TrainingHandle",
    "change_training",
    "change_training_flow",
    "copy_training",
    "copy_training_flow",
    "create_training",
    "create_training_flow",
    "create_training_from_template",
    "create_training_from_template_flow",
    "delete_training",
    "delete_training_flow",
    "resume_training",
    "resume_training_flow",
    "stop_training",
    "stop_training_flow",
]


def create_training(
    spec: TrainingSpec | TemplatedTrainingSpec | Mapping[str, Any], *, wait: bool = True, take_up: bool = True
) -> Training | TrainingHandle:
    """Create a training.

    Args:
        spec: What is run; also as a mapping of the settings, which may name a `template`.
        wait: Follow it in this process to its end; otherwise the runner of `makerflow up` does, as a flow run that can
            be cancelled in its UI, or a process of its own where that does not run.
        take_up: Go on with a training of this name and these settings that is unfinished and that nobody follows, as
            one whose process was killed. Otherwise its name is taken.

    Returns:
        The finished training, whatever its status: `status` and `reason` say how it went. Without `wait` a handle.

    Raises:
        InvalidInputError: The settings are refused; nothing was made.
        AlreadyExistsError: The name is taken.
        NotFoundError: There is no such template.
    """
    asked, platform = asked_for(spec), open_platform()
    settings, template = settings_of(platform, asked)
    check_settings(platform, settings, template)
    flow: Flow[[Any], Any] = create_training_from_template_flow if template else create_training_flow
    if wait:
        with taking_up(take_up):
            return run_to_end(flow, asked, asked.name)
    with taking_up(take_up), handed_over(flow, asked) as key:
        training_id = register_training.task.fn(asked, key or run_key())
        with suppress(MakerflowError):  # the row says why it failed, and who follows it tries again what may pass
            _launch(training_id)  # here and now, so that trainings queue in the order in which they are created
    return TrainingHandle(training_id) if key else TrainingHandle.detached(training_id)


def create_training_from_template(template: str, *, wait: bool = True, **beside: Any) -> Training | TrainingHandle:
    """Create a training with the settings of a template, by name or id, completed and overridden field by field.

    Args:
        template: The template.
        wait: As `create_training`.
        beside: Settings by their flat names (`workers=2`, `hyperparameters={"lr": 0.3}`); `name` when not given is made
            from the template's, and `unset=["hyperparameters.momentum"]` leaves out what the template has.

    Raises:
        TemplateOutdatedError: The template names something that is gone; nothing was made.
    """
    registry = open_platform().registry

    def create(name: str, *, take_up: bool = False) -> Training | TrainingHandle:
        spec = TemplatedTrainingSpec.given(template, {**beside, "name": name})
        return create_training(spec, wait=wait, take_up=take_up)

    if beside.get("name"):
        return create(beside["name"], take_up=True)
    return under_free_name(partial(registry.trainings.free_name, registry.templates.summary(template).name), create)


def resume_training(key: str) -> Training:
    """Go on with a training, by name or id, whose flow died or whose creation failed; a finished one is returned.

    Raises:
        InUseError: It is a trial of a tuning, which is what can be resumed.
        InvalidInputError: It runs on another cluster.
    """
    row = open_platform().registry.trainings.get(key)
    return run_to_end(resume_training_flow, row.name, row.id)


def stop_training(key: str, *, grace_seconds: float = 10) -> Training:
    """Stop a training, by name or id; when it returns, no process of it is left.

    Raises:
        IllegalTransitionError: It is over.
        InUseError: It is a trial of a tuning, which is what can be stopped.
        InvalidInputError: It runs on another cluster.
    """
    return run_flow(stop_training_flow, key, grace_seconds)


def copy_training(key: str, *, wait: bool = True, **overrides: Any) -> Training | TrainingHandle:
    """Create a training with the settings of another, by name or id, any of which can be overridden.

    Args:
        key: The training to copy.
        wait: As `create_training`.
        overrides: Settings by their flat names (`workers=2`, `hyperparameters={"lr": 0.3}`); `name` when not given is
            made from the other's.
    """
    trainings = open_platform().registry.trainings
    row = trainings.get(key)

    def create(name: str, *, take_up: bool = False) -> Training | TrainingHandle:
        spec = row.current_spec.changed(**{**overrides, "name": name})
        return create_training(spec, wait=wait, take_up=take_up)

    if overrides.get("name"):
        return create(overrides["name"], take_up=True)
    return under_free_name(partial(trainings.free_name, row.name), create)


def change_training(key: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Training:
    """Change the description or the tags of a training, by name or id; None leaves as it is.

    Raises:
        pydantic.ValidationError: The description is too long.
        InvalidInputError: More than 10 tags.
    """
    pairs = None if tags is None else tuple(NamedValue(name=name, value=value) for name, value in tags.items())
    return run_flow(change_training_flow, key, description, pairs)


def delete_training(key: str) -> None:
    """Delete a training, by name or id, that is over; what it wrote to its output paths stays.

    Raises:
        BusyError: It is not over.
    """
    run_flow(delete_training_flow, key)


def _launch(training_id: str) -> None:
    with open_platform().registry.lease(training_id):
        for step in UNTIL_LAUNCHED:
            step.task.fn(training_id)
