"""A tuning's life from Python: create, resume, stop, copy, change, delete."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import Flow
from prefect.exceptions import CancelledRun

from blocks.connections.platform import open_platform
from blocks.domain.errors import AlreadyExistsError, MakerflowError, NotFoundError
from blocks.domain.lifecycle import TUNING_ENDINGS, TUNING_UNDER_WAY
from blocks.domain.specs import NamedValue
from blocks.domain.tuning_overrides import TemplatedTuningSpec
from blocks.domain.tunings import TuningSpec
from blocks.registry.names import under_free_name
from blocks.registry.records import Tuning
from flows.tuning_flows import (
    asked_for,
    change_tuning_flow,
    copy_tuning_flow,
    create_tuning_flow,
    create_tuning_from_template_flow,
    delete_tuning_flow,
    resume_tuning_flow,
    stop_tuning_flow,
)
from tasks.current_run import run_key
from tasks.detached import start_follower
from tasks.engine import run_flow
from tasks.training import taking_up
from tasks.triggering import handed_over
from tasks.tuning import check_tuning_settings, go_on_with, register_tuning, tuning_settings_of

if TYPE_CHECKING:
    from optuna import Study

__all__ = [
    "TuningHandle",
    "as_study",
    "change_tuning",
    "change_tuning_flow",
    "copy_tuning",
    "copy_tuning_flow",
    "create_tuning",
    "create_tuning_flow",
    "create_tuning_from_template_flow",
    "delete_tuning",
    "delete_tuning_flow",
    "resume_tuning",
    "resume_tuning_flow",
    "stop_tuning",
    "stop_tuning_flow",
]


@dataclass(frozen=True)
class TuningHandle:
    """A tuning that another process runs."""

    id: str

    @classmethod
    def resumed(cls, key: str, **limits: Any) -> "TuningHandle":
        """Have it gone on with as by `resume_tuning`, by the runner of `makerflow up` or a process of its own.

        Raises:
            NotFoundError: There is no such tuning.
            pydantic.ValidationError: A limit is refused.
            InvalidInputError: Its trials are for another cluster.
        """
        platform = open_platform()
        registry = platform.registry
        row = registry.tunings.get(key)
        row.spec.changed(**limits)
        platform.check_cluster(row.plan)
        if not registry.is_leased(row.id):  # else who goes on waits for who runs it, and takes the limits then
            with registry.lease(row.id):
                if limits or registry.tunings.status(row.id) in TUNING_ENDINGS:
                    go_on_with.task.fn(row.id, limits)
            limits = {}
        with handed_over(resume_tuning_flow, row.id, **limits) as run:
            pass
        if not run:
            start_follower(row.id, json.dumps(limits))
        return cls(row.id)

    def refresh(self) -> Tuning:
        """The tuning as it is now."""
        return open_platform().registry.tunings.get(self.id)

    def wait(self) -> Tuning:
        """Wait for the end; goes on with the tuning here when the process that ran it died."""
        row = self.refresh()
        return _run_to_end(resume_tuning_flow, row.id, row.id) if row.status in TUNING_UNDER_WAY else row

    def stop(self) -> Tuning:
        """Stop it."""
        return stop_tuning(self.id)


def create_tuning(
    spec: TuningSpec | TemplatedTuningSpec | Mapping[str, Any], *, wait: bool = True, take_up: bool = True
) -> Tuning | TuningHandle:
    """Create a tuning.

    Args:
        spec: What is searched for; also as a mapping of the settings, which may name a `template`.
        wait: Run it in this process to its end; otherwise the runner of `makerflow up` does, or a process of its own
            where that does not run.
        take_up: Go on with a tuning of this name and these settings that is unfinished and that nobody runs, as one
            whose process was killed. Otherwise its name is taken.

    Returns:
        The tuning, whatever its status: `status`, `reason`, `best_number` and `best_value` say how it went. Without
        `wait` a handle.

    Raises:
        InvalidInputError: The settings are refused; nothing was made.
        AlreadyExistsError: The name is taken.
        NotFoundError: There is no such template.
    """
    asked, platform = asked_for(spec), open_platform()
    settings, template = tuning_settings_of(platform, asked)
    check_tuning_settings(platform, settings, template)
    flow: Flow[[Any], Any] = create_tuning_from_template_flow if template else create_tuning_flow
    if wait:
        with taking_up(take_up):
            return _run_to_end(flow, asked, asked.name)
    with taking_up(take_up), handed_over(flow, asked) as key:
        tuning_id = register_tuning.task.fn(settings, template, key or run_key())
    if not key:
        start_follower(tuning_id)
    return TuningHandle(tuning_id)


def resume_tuning(key: str, **limits: Any) -> Tuning:
    """Go on with a tuning, by name or id, whose flow died, that was stopped, or that is over.

    What is finished stays; what was killed with it is run again.

    Args:
        key: The tuning.
        limits: Other limits: `max_trainings`, `max_failed_trainings`, `parallel_trainings`, `max_tuning_minutes` and
            `goal`, which count from its first start.

    Raises:
        pydantic.ValidationError: A limit is refused.
        InvalidInputError: Its trials are for another cluster.
    """
    platform = open_platform()
    row = platform.registry.tunings.get(key)
    row.spec.changed(**limits)  # refused before anything starts
    platform.check_cluster(row.plan)
    return _run_to_end(resume_tuning_flow, row.id, row.id, **limits)


def as_study(key: str) -> "Study":
    """A tuning, by name or id, as a plain Optuna study in memory with every trial, in the order of their numbers.

    Optuna counts trials from 0. What failed, or was killed with the tuning, is a failed trial; one that was ended early
    is a pruned one. Our words for each are among its user attributes: `makerflow:training` (`digits-tuning/5`),
    `makerflow:status` and `makerflow:reason`. Changing the study changes nothing of the tuning, and it does not follow
    one that runs.

    Raises:
        NotFoundError: There is no such tuning.
    """
    from blocks.studies.study import study_of  # Optuna is imported only where it is asked for

    registry = open_platform().registry
    return study_of(registry, registry.tunings.get(key).id)


def stop_tuning(key: str) -> Tuning:
    """Stop a tuning, by name or id; when it returns, no process of it is left, and it can be resumed.

    Raises:
        IllegalTransitionError: It is over.
        InvalidInputError: Its trials run on another cluster.
    """
    return run_flow(stop_tuning_flow, key)


def copy_tuning(key: str, *, wait: bool = True, **overrides: Any) -> Tuning | TuningHandle:
    """Create a tuning with the settings of another, by name or id, any of which can be overridden.

    Args:
        key: The tuning to copy.
        wait: As `create_tuning`.
        overrides: Settings by their flat names (`max_trainings=40`, `parameters={"lr": "DOUBLE[0,1]"}`); `name` when
            not given is made from the other's.
    """
    tunings = open_platform().registry.tunings
    row = tunings.get(key)

    def create(name: str, *, take_up: bool = False) -> Tuning | TuningHandle:
        return create_tuning(row.current_spec.changed(**{**overrides, "name": name}), wait=wait, take_up=take_up)

    if overrides.get("name"):
        return create(overrides["name"], take_up=True)
    return under_free_name(partial(tunings.free_name, row.name), create)


def change_tuning(key: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Tuning:
    """Change the description or the tags of a tuning, by name or id; None leaves as it is.

    Raises:
        pydantic.ValidationError: The description is too long.
        InvalidInputError: More than 10 tags.
    """
    pairs = None if tags is None else tuple(NamedValue(name=name, value=value) for name, value in tags.items())
    return run_flow(change_tuning_flow, key, description, pairs)


def delete_tuning(key: str) -> None:
    """Delete a tuning, by name or id, that is over, with its trainings; what they wrote to its output paths stays.

    Raises:
        BusyError: It is not over.
    """
    run_flow(delete_tuning_flow, key)


def _run_to_end(flow: Flow[..., Any], argument: object, key: str, **limits: Any) -> Tuning:
    """Run a flow of a tuning; its row tells how it went, unless nothing came of it."""
    tunings = open_platform().registry.tunings
    try:
        run_flow(flow, argument, **limits)
    except CancelledRun:
        pass
    except AlreadyExistsError:
        raise
    except MakerflowError:
        with suppress(NotFoundError):
            row = tunings.get(key)
            if row.status not in TUNING_UNDER_WAY:
                return row
        raise
    return tunings.get(key)
