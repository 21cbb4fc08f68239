"""The flows of a tuning's life, as deployments run them: create, resume, stop, copy, change, delete."""

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
from blocks.domain.lifecycle import TUNING_ENDINGS, TUNING_UNDER_WAY, TuningStatus
from blocks.domain.parameters import Parameters
from blocks.domain.specs import NamedValue
from blocks.domain.tuning_overrides import TemplatedTuningSpec
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Tuning
from tasks.current_run import is_retry, is_scheduled, run_key
from tasks.engine import run_flow
from tasks.liveness import flow
from tasks.log_collection import history_logged
from tasks.page_log import tell_page, told_on_page
from tasks.trials import run_trials
from tasks.trouble import tuning_told_when_given_up
from tasks.tuning import (
    change_tuning_row,
    check_tuning,
    conclude_tuning,
    delete_tuning_row,
    go_on_with,
    plan_tuning,
    register_repeated_tuning,
    register_tuning,
    stop_tuning_row,
    tuning_id_of,
    tuning_settings_of,
)
from tasks.tuning_page import report_tuning


def _stop_when_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancelled in the UI: end the trials. It runs in another process, so it knows the flow run only."""
    with suppress(NotFoundError, IllegalTransitionError):  # cancelled before there was a row, or when it was over
        row = tuning_of(flow_run)
        if row.status in TUNING_UNDER_WAY:
            run_flow(stop_tuning_flow, row.id)


def tuning_of(flow_run: FlowRun) -> Tuning:
    """The tuning that a flow run is about.

    Raises:
        NotFoundError: It is about none, or ended before there was one.
    """
    tunings = open_platform().registry.tunings
    try:
        return tunings.get(tuning_id_of(str(flow_run.id)))
    except NotFoundError:
        if "key" in flow_run.parameters:
            return tunings.get(flow_run.parameters["key"])
        if "spec" not in flow_run.parameters or flow_run.auto_scheduled:
            raise  # the name in a schedule's settings is that of the tuning which they are of
        # The flow took up one that an earlier run of the same settings had left.
        row = _of_settings(flow_run.parameters["spec"])
        if row is None:
            raise
        return row


@flow(name="create-tuning", flow_run_name="{spec.name}", on_cancellation=[_stop_when_cancelled])
def create_tuning_flow(spec: TuningSpec) -> Tuning | State[Any]:
    """Create a tuning and run its trainings to the end.

    Args:
        spec: What is searched for, by which trainings. On a schedule each tuning gets a name of its own, made from
            this one.
    """
    register = register_repeated_tuning if is_scheduled() else register_tuning
    return _drive(register(spec, None, run_key()))


@flow(name="create-tuning-from-template", flow_run_name="{spec.name}", on_cancellation=[_stop_when_cancelled])
def create_tuning_from_template_flow(spec: TemplatedTuningSpec) -> Tuning | State[Any]:
    """Create a tuning from a template and run its trainings to the end.

    Args:
        spec: Which template, what is searched for, and what is given beside it. What is left empty is as in the
            template, whose hyperparameters have one value each unless they are given a range.
    """
    register = register_repeated_tuning if is_scheduled() else register_tuning
    platform, key = open_platform(), run_key()
    with suppress(NotFoundError):  # made already, of the template as it was then
        return _drive(platform.registry.tunings.get(tuning_id_of(key)).id)
    settings, template = tuning_settings_of(platform, spec)
    return _drive(register(settings, template, key))


@flow(name="resume-tuning", flow_run_name="{key}", on_cancellation=[_stop_when_cancelled])
def resume_tuning_flow(
    key: str,
    max_trainings: int | None = None,
    max_failed_trainings: int | None = None,
    parallel_trainings: int | None = None,
    max_tuning_minutes: float | None = None,
    goal: float | None = None,
) -> Tuning | State[Any]:
    """Go on with a tuning whose flow died, that was stopped, or that is over, also with other limits.

    Args:
        key: Its name or id.
        max_trainings: How many trainings are to have run in all; left empty: as it was.
        max_failed_trainings: How many may fail in all; left empty: as it was.
        parallel_trainings: How many run at once; left empty: as it was.
        max_tuning_minutes: The maximum time in minutes, that of before included; left empty: as it was.
        goal: The value that is good enough; left empty: as it was.
    """
    given = {
        "max_trainings": max_trainings,
        "max_failed_trainings": max_failed_trainings,
        "parallel_trainings": parallel_trainings,
        "max_tuning_minutes": max_tuning_minutes,
        "goal": goal,
    }
    limits: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    platform = open_platform()
    row = platform.registry.tunings.get(key)
    platform.check_cluster(row.plan)
    return _drive(row.id, limits, go_on=row.status in TUNING_ENDINGS or bool(limits))


@flow(name="stop-tuning", flow_run_name="{key}")
def stop_tuning_flow(key: str) -> Tuning:
    """Stop a tuning: its running trainings are ended. `resume-tuning` goes on with it.

    Args:
        key: Its name or id.
    """
    tuning_id = open_platform().registry.tunings.get(key).id
    stop_tuning_row(tuning_id)
    with _in_charge(tuning_id):
        return _run_and_conclude(tuning_id)


@flow(name="copy-tuning", flow_run_name="{original}", on_cancellation=[_stop_when_cancelled])
def copy_tuning_flow(
    original: str,
    name: str = "",
    parameters: Parameters | None = None,
    hyperparameters: tuple[NamedValue, ...] = (),
    settings: tuple[NamedValue, ...] = (),
) -> Tuning | State[Any]:
    """Create a tuning with the settings of another, any of which can be overridden, and run it to the end.

    Args:
        original: The tuning to copy: its name or id.
        name: The name of the new one; empty for one that is made from the other's. On a schedule each tuning gets a
            name of its own, made from this one.
        parameters: Hyperparameters that are searched, each with its range or its values. Added to the other's; one of
            the same name takes its place.
        hyperparameters: Those with one value. Added to the other's; one of the same name takes its place.
        settings: Whatever else takes the place of the other's: the name that each has in Python and YAML, such as
            max_trainings or strategy, and its value; a list as JSON.
    """
    tunings, key = open_platform().registry.tunings, run_key()
    with suppress(NotFoundError):  # made already; the other may have been deleted since
        return _drive(tunings.get(tuning_id_of(key)).id)
    spec = tunings.get(original).current_spec.changed(**settings_of_texts(settings))
    spec = spec.changed(parameters=parameters or (), hyperparameters=hyperparameters)
    if name and not is_scheduled():
        return _drive(register_tuning(spec.changed(name=name), None, key))
    return _drive(register_repeated_tuning(spec.changed(name=name or spec.name), None, key))


@flow(name="change-tuning", flow_run_name="{key}")
def change_tuning_flow(key: str, description: str | None = None, tags: tuple[NamedValue, ...] | None = None) -> Tuning:
    """Change the description or the tags of a tuning.

    Args:
        key: Its name or id.
        description: Free text, at most 1,000 characters; left empty: as it is.
        tags: All of them, at most 10; left empty: as they are.
    """
    named = None if tags is None else {tag.name: tag.value for tag in tags}
    row = change_tuning_row(open_platform().registry.tunings.get(key).id, description, named)
    tell_page(f"tuning {row.name}: changed")
    return row


@flow(name="delete-tuning", flow_run_name="{key}")
def delete_tuning_flow(key: str) -> None:
    """Delete a tuning that is over, with its trainings; what they wrote to its output paths stays.

    Args:
        key: Its name or id.
    """
    row = open_platform().registry.tunings.get(key)
    delete_tuning_row(row.id)
    tell_page(f"tuning {row.name}: deleted")


def asked_for(spec: TuningSpec | TemplatedTuningSpec | Mapping[str, Any]) -> TuningSpec | TemplatedTuningSpec:
    """The settings of a tuning, or of one that is made from a template, checked."""
    if isinstance(spec, TemplatedTuningSpec) or (isinstance(spec, Mapping) and "template" in spec):
        return TemplatedTuningSpec.of(spec)
    return TuningSpec.of(spec)


def _of_settings(spec: Mapping[str, Any]) -> Tuning | None:
    """The tuning that has the name and the settings; None when there is none, or when they are no settings."""
    platform = open_platform()
    try:
        asked = asked_for(spec)
        row = platform.registry.tunings.get(asked.name)
        return row if row.spec == tuning_settings_of(platform, asked)[0] else None
    except (NotFoundError, InvalidInputError, ValidationError):
        return None


def _drive(tuning_id: str, limits: Mapping[str, Any] | None = None, *, go_on: bool = False) -> Tuning | State[Any]:
    with _in_charge(tuning_id):
        if go_on:
            go_on_with(tuning_id, limits or {})
        _go_on_when_retried(tuning_id)
        for step in (check_tuning, plan_tuning):
            step(tuning_id)
        row = _run_and_conclude(tuning_id)
    if row.status is TuningStatus.STOPPED:
        return Cancelled(message=f"{row.reason}. Go on with it: `makerflow tuning resume {row.name}`.")
    if row.status is not TuningStatus.COMPLETE:
        raise RunFailedError("tuning", row.name, row.status, row.reason)
    return row


def _go_on_when_retried(tuning_id: str) -> None:
    """Retry in the UI, of a flow run that was cancelled, goes on with the tuning that this has stopped."""
    platform = open_platform()
    tunings = platform.registry.tunings
    if is_retry() and tunings.status(tuning_id) is TuningStatus.STOPPED:
        platform.check_cluster(tunings.get(tuning_id).plan)
        tunings.go_on(tuning_id, tunings.get(tuning_id).spec, "its flow run is retried")


@contextmanager
def _in_charge(tuning_id: str) -> Iterator[None]:
    """Nobody else works on the tuning meanwhile, and how it went is told."""
    platform = open_platform()
    with (
        platform.registry.lease(tuning_id),
        tuning_told_when_given_up(platform, tuning_id),
        history_logged(platform, tuning_id),
        told_on_page(platform, tuning_id),
    ):
        yield


def _run_and_conclude(tuning_id: str) -> Tuning:
    run_trials(tuning_id)
    row = conclude_tuning(tuning_id)
    report_tuning(open_platform(), tuning_id)
    return row
