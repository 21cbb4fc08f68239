"""The steps of a training.

Each reads the row, does what is not done yet, and writes the row: running one twice is running it once.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from typing import Literal

from blocks.cluster.base import Selector
from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import (
    AlreadyExistsError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    PlaceGoneError,
)
from blocks.domain.lifecycle import UNDER_WAY, TrainingStatus
from blocks.domain.metrics import check_expressions
from blocks.domain.plan import ExitCause, RunHandle, RunPhase, RunPlan
from blocks.domain.planning import check_outputs
from blocks.domain.specs import ExperimentSpec, ProvidedAlgorithm, TrainingSpec
from blocks.domain.template_overrides import TemplatedTrainingSpec
from blocks.domain.templates import TemplateUse, named_by
from blocks.registry.names import under_free_name
from blocks.registry.records import Training
from tasks.engine import step
from tasks.log_collection import collect_logs
from tasks.page_log import tell_page
from tasks.planning import check_paths, check_reach, events_directory, keep_plan
from tasks.trouble import told_of_silence, told_while_it_lasts

DELETED = (
    "Somebody deleted its run from the cluster. Start it again as a copy; what it had uploaded is at its place, and its"
    " checkpoints can be given as its input."
)

_TAKES_UP: ContextVar[bool] = ContextVar("takes_up", default=True)


@contextmanager
def taking_up(allowed: bool) -> Iterator[None]:
    """Whether registering takes up, while the block lasts, what somebody has left unfinished of the same name.

    Who has not chosen the name means no such training: the first free name may be another's meanwhile.
    """
    token = _TAKES_UP.set(allowed)
    try:
        yield
    finally:
        _TAKES_UP.reset(token)


def takes_up() -> bool:
    """Whether registering takes up what is unfinished, here and now."""
    return _TAKES_UP.get()


@step("register")
def register_training(asked: TrainingSpec | TemplatedTrainingSpec, key: str) -> str:
    """Make the row; its id. `key` names the request, so that asking again finds the row.

    A row of this name and these settings that is unfinished and that nobody follows is taken up, save where `taking_up`
    forbids it.

    Raises:
        InvalidInputError: The settings can be refused without looking at any store.
        AlreadyExistsError: The name is taken.
        NotFoundError: There is no such template.
    """
    platform = open_platform()
    if made := made_already(key):
        return made
    spec, template, experiment = _prepared(platform, asked)
    try:
        return platform.registry.trainings.create(spec, experiment, id=training_id_of(key), template=template).id
    except AlreadyExistsError as error:
        row = platform.registry.trainings.get(error.id)
        is_same = takes_up() and row.spec == spec
        if is_same and row.status in UNDER_WAY and not platform.registry.is_leased(row.id):
            return row.id
        raise


@step("register")
def register_repeated(asked: TrainingSpec | TemplatedTrainingSpec, key: str) -> str:
    """The same for settings that are asked for again and again: the row has the first free name of `a`, `a-2`, ...

    Raises:
        InvalidInputError: The settings can be refused without looking at any store.
        NotFoundError: There is no such template.
    """
    platform = open_platform()
    trainings = platform.registry.trainings
    if made := made_already(key):
        return made
    spec, template, experiment = _prepared(platform, asked)

    def create(name: str) -> str:
        row = trainings.create(spec.changed(name=name), experiment, id=training_id_of(key), template=template)
        tell_page(f"training {row.name}: created")
        return row.id

    return under_free_name(partial(trainings.free_name, spec.name), create)


@step("change")
def change_training_row(training_id: str, description: str | None, tags: Mapping[str, str] | None) -> Training:
    """Write another description or other tags, all of them; None leaves as it is.

    Raises:
        pydantic.ValidationError: The description is too long.
        InvalidInputError: More than 10 tags.
    """
    trainings = open_platform().registry.trainings
    if description is not None:
        trainings.get(training_id).spec.changed(description=description)  # refuses what a creation would refuse
    return trainings.change(training_id, description=description, tags=tags)


@step("check access")
def check_access(training_id: str) -> None:
    """Prove every right that the training needs (COM-06), and that its entry point exists.

    Raises:
        PermanentError: What is missing; the row is then CREATE FAILED with the same reason.
    """
    platform = open_platform()
    trainings = platform.registry.trainings
    row = trainings.get(training_id)
    failed = row.status is TrainingStatus.CREATE_FAILED
    if failed or row.status is TrainingStatus.CREATE_REQUESTED:
        row = trainings.move(training_id, TrainingStatus.CREATE_IN_PROGRESS, "checking access")
    elif row.status is not TrainingStatus.CREATE_IN_PROGRESS or row.plan is not None:
        return
    with _or_creation_failed(platform, row):
        check_settings(platform, row.spec, row.template)
        check_paths(platform, row.spec, row.template)
        if failed and row.plan is not None:  # nothing was launched by it, and what was wrong may have been mended
            keep_plan(platform, row, replace=True)


@step("plan")
def plan_run(training_id: str) -> None:
    """List every input with size and ETag, and keep the plan: the first one stays, so that changed data is noticed.

    Raises:
        PermanentError: An input is missing, does not fit or cannot be staged; the row is then CREATE FAILED.
    """
    platform = open_platform()
    row = platform.registry.trainings.get(training_id)
    if row.status is not TrainingStatus.CREATE_IN_PROGRESS or row.plan is not None:
        return
    with _or_creation_failed(platform, row):
        keep_plan(platform, row)


@step("launch workers")
def launch_workers(training_id: str) -> None:
    """Start the workers, or find them.

    Of a training that runs, a refusal ends it only where its workers are gone for good (see `launch_again`).

    Raises:
        CapacityError: They can never fit; the row is then CREATE FAILED.
        InvalidInputError: It is for another cluster.
    """
    platform = open_platform()
    row = platform.registry.trainings.get(training_id)
    if row.plan is None or row.status not in (TrainingStatus.CREATE_IN_PROGRESS, TrainingStatus.RUNNING):
        return
    platform.check_cluster(row.plan)
    handle = _launched(platform, row, row.plan)
    if handle is None:
        return
    platform.registry.trainings.keep_handle(training_id, handle)
    if platform.registry.trainings.get(training_id).status is TrainingStatus.STOP_IN_PROGRESS:
        platform.cluster.stop(handle, row.plan.stop_grace_seconds)


def _launched(platform: Platform, row: Training, plan: RunPlan) -> RunHandle | None:
    """The handle of its run, which is found or launched; None where the training has ended instead."""
    refusals = _or_creation_failed(platform, row) if row.handle is None else nullcontext()  # else its workers may live
    with refusals, told_of_silence(platform, row):
        found = platform.cluster.find(Selector(run_id=row.id))
    if found and found[0].phase is not RunPhase.LOST:
        return found[0].handle
    if not found and row.event_cursor:
        return None  # somebody deleted its run: who follows it ends it
    with _or_creation_failed(platform, row):
        if row.status is TrainingStatus.RUNNING:
            return launch_again(platform, row, plan)
        return platform.cluster.launch(plan, platform.secrets(plan))


def launch_again(platform: Platform, row: Training, plan: RunPlan) -> RunHandle | None:
    """Launch a run that was launched and is lost; None where the training has ended instead.

    It ends where its workers are gone for good: their place on the cluster, as a namespace of Kubernetes, is not there
    any more, or is being deleted with all that it holds. Any other refusal, such as of an account that has expired or
    lost a right, says nothing of them, and can be mended: it is raised, and the training stays as it is.
    """
    try:
        return platform.cluster.launch(plan, platform.secrets(plan))
    except PlaceGoneError as error:
        platform.registry.trainings.move(row.id, ending_of(ExitCause.LOST, row.status), f"{DELETED} {error}")
        return None


def refuse_trial(row: Training, action: Literal["stop", "resume"]) -> None:
    """Leave a trial that is under way to its tuning, which follows and ends it.

    Raises:
        InUseError: It is one; the tuning is named.
    """
    if row.tuning_id is not None and row.status in UNDER_WAY:
        tuning = open_platform().registry.tunings.summary(row.tuning_id).name
        remedy = f"It is a trial of that tuning, and lives with it: `makerflow tuning {action} {tuning}`."
        raise InUseError("training", row.name, action, [("tuning", tuning, row.tuning_id)], remedy)


def refuse_elsewhere(row: Training) -> None:
    """Leave one that is under way to its cluster where another one is chosen.

    Raises:
        InvalidInputError: It is on another one; what to set is named.
    """
    if row.status in UNDER_WAY:
        open_platform().check_cluster(row.plan)


def is_kept(row: Training) -> bool:
    """Whether its cluster may still have its run, also when that is over: its log is nowhere else."""
    return not row.logs_uploaded and (row.handle is not None or row.event_cursor > 0)


@step("stop workers")
def stop_workers(training_id: str, grace_seconds: float) -> None:
    """Ask for the end: STOP IN PROGRESS, then every worker is ended.

    Raises:
        IllegalTransitionError: The training is over, or about to be.
        InUseError: It is a trial of a tuning.
        InvalidInputError: It runs on another cluster.
    """
    platform = open_platform()
    row = platform.registry.trainings.get(training_id)
    refuse_trial(row, "stop")
    refuse_elsewhere(row)
    if row.status is TrainingStatus.STOPPED:
        return
    platform.registry.trainings.move(training_id, TrainingStatus.STOP_IN_PROGRESS, "stopped on request")
    platform.cluster.stop(handle_of(row), grace_seconds)


@step("remove workers")
def remove_workers(training_id: str) -> None:
    """Remove the run's scratch, once its output and logs are at their places.

    Raises:
        TransientError: The log store does not take what is left.
        InvalidInputError: It is on another cluster.
    """
    platform = open_platform()
    row = platform.registry.trainings.get(training_id)
    if row.status in CONCLUSIONS:
        platform.check_cluster(row.plan)
        platform.cluster.stop(handle_of(row), 0)
        collect_logs(platform, row, handle_of(row))
        if row.logs_uploaded:
            platform.cluster.remove(handle_of(row))


@step("conclude")
def conclude(training_id: str) -> Training:
    """From what is in progress to the final status; the finished row."""
    trainings = open_platform().registry.trainings
    row = trainings.get(training_id)
    final = CONCLUSIONS.get(row.status)
    return trainings.move(training_id, final, row.reason) if final else row


@step("delete")
def delete_training_row(training_id: str) -> None:
    """Delete the row and what is left of the run on the cluster; the user's output stays where it is.

    Of one that was not launched as far as anybody knows, nothing is lost where the cluster refuses to look: upkeep ends
    runs that have no row.

    Raises:
        BusyError: It is not over.
        InvalidInputError: What is left of it is on another cluster.
    """
    platform = open_platform()
    trainings = platform.registry.trainings
    row = trainings.get(training_id)
    if row.status in UNDER_WAY or is_kept(row):
        platform.check_cluster(row.plan)
    trainings.guard_delete(training_id)  # one that is under way holds its lease to its end: refused, not waited for
    with platform.registry.lease(training_id):
        row = trainings.get(training_id)
        trainings.guard_delete(training_id)
        with suppress(PermanentError) if row.handle is None else nullcontext():
            platform.cluster.stop(handle_of(row), 0)
            platform.cluster.remove(handle_of(row))
        shutil.rmtree(events_directory(platform, row), ignore_errors=True)
        trainings.delete(training_id)


CONCLUSIONS = {
    TrainingStatus.COMPLETE_IN_PROGRESS: TrainingStatus.COMPLETE,
    TrainingStatus.FAIL_TRAIN_IN_PROGRESS: TrainingStatus.FAIL_TRAIN,
    TrainingStatus.STOP_IN_PROGRESS: TrainingStatus.STOPPED,
}
"""From what is in progress to the final status."""


def training_id_of(key: str) -> str:
    """The id of the training that the request `key` asks for: the same however often it asks."""
    return "trn-" + hashlib.sha256(key.encode()).hexdigest()[:20]


def made_already(key: str) -> str:
    """The id of the training that the request `key` has made; empty when it has made none.

    To be asked before anything that the request names is looked at: that may have changed, or be gone, since.
    """
    with suppress(NotFoundError):
        return open_platform().registry.trainings.get(training_id_of(key)).id
    return ""


def handle_of(row: Training) -> RunHandle:
    """The handle of its run, also when whoever launched it died before writing it down."""
    return row.handle or RunHandle(cluster="", run_id=row.id)


def settings_of(
    platform: Platform, asked: TrainingSpec | TemplatedTrainingSpec
) -> tuple[TrainingSpec, TemplateUse | None]:
    """The settings that are asked for, whole, and the template that they are made from.

    Raises:
        NotFoundError: There is no such template.
        InvalidInputError: With what is given beside it the template makes no training.
    """
    if isinstance(asked, TrainingSpec):
        return asked, None
    template = platform.registry.templates.get(asked.template)
    return asked.over(template.spec), asked.use(template.id, template.name)


def check_settings(platform: Platform, spec: TrainingSpec, template: TemplateUse | None = None) -> None:
    """Refuse settings that are wrong whatever the stores hold.

    Raises:
        InvalidInputError: What is wrong, and what is allowed; a TemplateOutdatedError when the template names it.
    """
    catalogue = platform.catalogue
    with named_by(template, "flavor"):
        catalogue.flavor(spec.instances.flavor)
    with named_by(template, "image"):
        catalogue.image(spec.instances.image)
    check_expressions(spec.metrics.expressions)
    check_outputs(spec)
    check_reach(platform, spec)
    if spec.algorithm.provided is not ProvidedAlgorithm.OWN:
        with named_by(template, "provided"):
            algorithm = catalogue.algorithm(spec.algorithm.provided)
        algorithm.check(spec)
    if spec.limits.log_management and platform.log_store is None:
        why = "no log store is enabled on this installation (MAKERFLOW_LOG_STORE=off)"
        with named_by(template, "log_management"):
            raise InvalidInputError("log_management is on", why, "Set MAKERFLOW_LOG_STORE=local, or turn it off.")


def _prepared(
    platform: Platform, asked: TrainingSpec | TemplatedTrainingSpec
) -> tuple[TrainingSpec, TemplateUse | None, str]:
    """The settings, checked, with the template that they are made from and the id of the experiment, which exists."""
    spec, template = settings_of(platform, asked)
    check_settings(platform, spec, template)
    return spec, template, platform.registry.experiments.ensure(ExperimentSpec(name=spec.experiment)).id


@contextmanager
def _or_creation_failed(platform: Platform, row: Training) -> Iterator[None]:
    """What cannot help to be tried again makes the row CREATE FAILED, unless its workers have run already."""
    try:
        with told_while_it_lasts(platform, row):
            yield
    except PermanentError as error:
        if row.status is TrainingStatus.CREATE_IN_PROGRESS:
            platform.registry.trainings.move(row.id, TrainingStatus.CREATE_FAILED, str(error))
        raise


def ending_of(cause: ExitCause, status: TrainingStatus) -> TrainingStatus:
    """Where a training goes when its run is over."""
    if status is TrainingStatus.STOP_IN_PROGRESS or cause is ExitCause.STOPPED:
        return TrainingStatus.STOP_IN_PROGRESS
    return TrainingStatus.COMPLETE_IN_PROGRESS if cause is ExitCause.OK else TrainingStatus.FAIL_TRAIN_IN_PROGRESS
