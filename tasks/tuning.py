"""The steps of a tuning, save for its trials (`tasks/trials.py`). Running one twice is running it once."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import AlreadyExistsError, InvalidInputError, NotFoundError, PermanentError
from blocks.domain.lifecycle import TRIAL_FINISHED, TUNING_UNDER_WAY, TuningStatus
from blocks.domain.parameters import unfit
from blocks.domain.plan import RunHandle
from blocks.domain.specs import ExperimentSpec
from blocks.domain.templates import TemplateUse
from blocks.domain.tuning_overrides import TemplatedTuningSpec
from blocks.domain.tunings import TuningSpec
from blocks.registry.names import under_free_name
from blocks.registry.records import LearnedTrial, Trial, Tuning
from tasks.engine import step
from tasks.page_log import tell_page
from tasks.planning import check_paths, events_of_tuning, keep_tuning_plan
from tasks.training import check_settings, is_kept, takes_up, taking_up
from tasks.trouble import told_of_tuning
from tasks.tuning_plots import plot_file

CONCLUSIONS = {
    TuningStatus.COMPLETE_IN_PROGRESS: TuningStatus.COMPLETE,
    TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS: TuningStatus.FAIL_HYPERPARAMETER_TUNING,
    TuningStatus.STOP_IN_PROGRESS: TuningStatus.STOPPED,
}
"""From what is in progress to where a tuning rests."""

NAMED_REASONS = 3
"""So many different reasons are told why trials of another tuning could not be learned from."""


@step("register tuning")
def register_tuning(spec: TuningSpec, template: TemplateUse | None, key: str) -> str:
    """Make the row; its id. `key` names the request, so that asking again finds the row.

    A row of this name and these settings that is unfinished and that nobody goes on with is taken up, save where
    `taking_up` forbids it.

    Raises:
        InvalidInputError: The settings can be refused without looking at any store.
        AlreadyExistsError: The name is taken.
    """
    platform = open_platform()
    with suppress(NotFoundError):  # made already; its limits may have been raised since
        return platform.registry.tunings.get(tuning_id_of(key)).id
    check_tuning_settings(platform, spec, template)
    experiment = platform.registry.experiments.ensure(ExperimentSpec(name=spec.experiment)).id
    try:
        return platform.registry.tunings.create(spec, experiment, id=tuning_id_of(key), template=template).id
    except AlreadyExistsError as error:
        row = platform.registry.tunings.get(error.id)
        is_same = takes_up() and row.spec == spec
        if is_same and row.status in TUNING_UNDER_WAY and not platform.registry.is_leased(row.id):
            return row.id
        raise


@step("register tuning")
def register_repeated_tuning(spec: TuningSpec, template: TemplateUse | None, key: str) -> str:
    """The same for settings that are asked for again and again: the row has the first free name of `a`, `a-2`, ...

    Raises:
        InvalidInputError: The settings can be refused without looking at any store.
    """
    tunings = open_platform().registry.tunings

    def create(name: str) -> str:
        with taking_up(False):
            return register_tuning.task.fn(spec.changed(name=name), template, key)

    tuning_id = under_free_name(partial(tunings.free_name, spec.name), create)
    tell_page(f"tuning {tunings.get(tuning_id).name}: created")
    return tuning_id


@step("go on with tuning")
def go_on_with(tuning_id: str, limits: Mapping[str, Any]) -> None:
    """Leave where it rests, and take other limits; a tuning that is under way takes them, too.

    To be called by who holds the tuning's lease.

    Raises:
        pydantic.ValidationError: A limit is refused.
        InvalidInputError: Its trials are for another cluster.
    """
    platform = open_platform()
    tunings = platform.registry.tunings
    row = tunings.get(tuning_id)
    platform.check_cluster(row.plan)
    told = ", ".join(f"{name}={value:g}" for name, value in limits.items())
    tunings.go_on(tuning_id, row.spec.changed(**limits), f"gone on with: {told or 'the limits that it had'}")


@step("check tuning")
def check_tuning(tuning_id: str) -> None:
    """Prove every right that its trials need (COM-06), and that their entry point exists.

    Raises:
        PermanentError: What is missing; the row is then CREATE FAILED with the same reason.
    """
    platform = open_platform()
    tunings = platform.registry.tunings
    row = tunings.get(tuning_id)
    if row.status in (TuningStatus.CREATE_REQUESTED, TuningStatus.CREATE_FAILED):
        row = tunings.move(tuning_id, TuningStatus.CREATE_IN_PROGRESS, "checking access")
    elif row.status is not TuningStatus.CREATE_IN_PROGRESS or row.plan is not None:
        return
    with _or_creation_failed(platform, row):
        check_tuning_settings(platform, row.spec, row.template)
        check_paths(platform, row.spec.training_spec(row.spec.first_point(), 0), row.template)


@step("plan tuning")
def plan_tuning(tuning_id: str) -> None:
    """List every input with size and ETag, once for all trials; and what is learned from another tuning.

    Raises:
        PermanentError: An input is missing, does not fit or cannot be staged; the row is then CREATE FAILED.
    """
    platform = open_platform()
    row = platform.registry.tunings.get(tuning_id)
    if row.status is not TuningStatus.CREATE_IN_PROGRESS or row.plan is not None:
        return
    with _or_creation_failed(platform, row):
        learned, told = learned_trials(platform, row.spec)
        keep_tuning_plan(platform, row, learned)
        if told:
            platform.registry.tunings.explain(tuning_id, told)


@step("stop tuning")
def stop_tuning_row(tuning_id: str) -> None:
    """Ask for the end: STOP IN PROGRESS, and whoever runs its trials ends them.

    Raises:
        IllegalTransitionError: The tuning is over, or about to be.
        InvalidInputError: Its trials run on another cluster.
    """
    platform = open_platform()
    row = platform.registry.tunings.get(tuning_id)
    if row.status in TUNING_UNDER_WAY:
        platform.check_cluster(row.plan)
    if row.status is not TuningStatus.STOPPED:
        platform.registry.tunings.move(tuning_id, TuningStatus.STOP_IN_PROGRESS, "stopped on request")


@step("conclude tuning")
def conclude_tuning(tuning_id: str) -> Tuning:
    """Remove what is not to be kept, and move on to where the tuning rests; the row.

    Where it may not be removed the tuning is over all the same, and says so.
    """
    platform = open_platform()
    row = platform.registry.tunings.get(tuning_id)
    final = CONCLUSIONS.get(row.status)
    if final is None:
        return row
    left = _remove_outputs(platform, row) if final is TuningStatus.COMPLETE else ""
    return platform.registry.tunings.move(tuning_id, final, f"{row.reason}. {left}" if left else row.reason)


@step("change tuning")
def change_tuning_row(tuning_id: str, description: str | None, tags: Mapping[str, str] | None) -> Tuning:
    """Write another description or other tags, all of them; None leaves as it is.

    Raises:
        pydantic.ValidationError: The description is too long.
        InvalidInputError: More than 10 tags.
    """
    tunings = open_platform().registry.tunings
    if description is not None:
        tunings.get(tuning_id).spec.changed(description=description)  # refuses what a creation would refuse
    return tunings.change(tuning_id, description=description, tags=tags)


@step("delete tuning")
def delete_tuning_row(tuning_id: str) -> None:
    """Delete the row with its trials and what is left of their runs; the user's output stays where it is.

    Raises:
        BusyError: It is not over.
        InvalidInputError: What is left of a trial is on another cluster.
    """
    platform = open_platform()
    tunings = platform.registry.tunings
    tunings.guard_delete(tuning_id)  # one that is under way holds its lease to its end: refused, not waited for
    with platform.registry.lease(tuning_id):
        tunings.guard_delete(tuning_id)
        row = tunings.get(tuning_id)
        trials = tunings.trials(tuning_id)
        trainings = (platform.registry.trainings.get(trial.training_id) for trial in trials)
        if (refusal := platform.refusal(row.plan)) and any(map(is_kept, trainings)):
            raise refusal
        for trial in trials:
            platform.cluster.remove(handle_of_trial(trial))
        shutil.rmtree(events_of_tuning(platform, row), ignore_errors=True)
        plot_file(platform.settings.home, row).unlink(missing_ok=True)
        tunings.delete(tuning_id)


def tuning_id_of(key: str) -> str:
    """The id of the tuning that the request `key` asks for: the same however often it asks."""
    return "tun-" + hashlib.sha256(key.encode()).hexdigest()[:20]


def training_id_of_trial(tuning_id: str, number: int, runs: int) -> str:
    """The id of the training that runs a trial for the `runs`th time, from 1."""
    return "trn-" + hashlib.sha256(f"{tuning_id}/{number}/{runs}".encode()).hexdigest()[:20]


def handle_of_trial(trial: Trial) -> RunHandle:
    """The handle of its run."""
    return RunHandle(cluster="", run_id=trial.training_id)


def tuning_settings_of(
    platform: Platform, asked: TuningSpec | TemplatedTuningSpec
) -> tuple[TuningSpec, TemplateUse | None]:
    """The settings that are asked for, whole, and the template that they are made from.

    Raises:
        NotFoundError: There is no such template.
        InvalidInputError: With what is given beside it the template makes no tuning.
    """
    if isinstance(asked, TuningSpec):
        return asked, None
    template = platform.registry.templates.get(asked.template)
    return asked.over(template.spec), asked.use(template.id, template.name)


def check_tuning_settings(platform: Platform, spec: TuningSpec, template: TemplateUse | None = None) -> None:
    """Refuse settings that are wrong whatever the stores hold.

    Raises:
        InvalidInputError: What is wrong, and what is allowed; a TemplateOutdatedError when the template names it.
        NotFoundError: There is no such tuning to learn from.
    """
    check_settings(platform, spec.training_spec(spec.first_point(), 0), template)
    spec.check(platform.catalogue)
    learned_trials(platform, spec)


def learned_trials(platform: Platform, spec: TuningSpec) -> tuple[list[LearnedTrial], str]:
    """The finished trials of another tuning that fit the space, and what is told of it.

    Raises:
        NotFoundError: There is no such tuning.
        InvalidInputError: It has another objective.
    """
    if not spec.search.warm_start:
        return [], ""
    other = platform.registry.tunings.get(spec.search.warm_start)
    wanted, theirs = spec.objective, other.spec.objective
    if (wanted.metric, wanted.type) != (theirs.metric, theirs.type):
        raise InvalidInputError(
            f"warm_start {other.name!r}",
            f"its objective is to {theirs.type} {theirs.metric}, this one's to {wanted.type} {wanted.metric}",
            "Name a tuning of the same objective, or none.",
        )
    taken, reasons = [], Counter[str]()
    for trial in platform.registry.tunings.trials(other.id):
        if why := _unusable(spec, trial):
            reasons[why] += 1
        else:
            values = {name: getattr(trial, name) for name in ("number", "parameters", "status", "objective")}
            taken.append(LearnedTrial(tuning=other.id, **values))
    return taken, _told_of_learning(other.name, len(taken), reasons)


def _unusable(spec: TuningSpec, trial: Trial) -> str:
    if trial.status not in TRIAL_FINISHED or trial.objective is None:
        return f"{trial.status}, without an objective value"
    return unfit(spec.search.parameters, trial.parameters)


def _told_of_learning(name: str, taken: int, reasons: Counter[str]) -> str:
    total = taken + reasons.total()
    told = f"It learns from {taken} of {total} trials of {name}"
    if not reasons:
        return f"{told}."
    causes = "; ".join(f"{why} ({count})" for why, count in reasons.most_common(NAMED_REASONS))
    more = "; and others" if len(reasons) > NAMED_REASONS else ""
    return f"{told}. Not of the others: {causes}{more}."


def _remove_outputs(platform: Platform, row: Tuning) -> str:
    """By the tuning's `keep`: models, checkpoints and logs of all but the best trials; why that could not be done."""
    from tasks.trial_outputs import remove_outputs

    if row.spec.trainings.kept is None:
        return ""
    try:
        remove_outputs(platform, row)
    except PermanentError as error:
        return (
            f"Outputs that were not to be kept (keep: {row.spec.trainings.keep}) could not be removed: {error} "
            f"`makerflow tuning resume {row.name}` does that; or remove them yourself."
        )
    return ""


@contextmanager
def _or_creation_failed(platform: Platform, row: Tuning) -> Iterator[None]:
    """What cannot help to be tried again makes the row CREATE FAILED, unless trials have run already."""
    try:
        with told_of_tuning(platform, row):
            yield
    except PermanentError as error:
        if row.status is TuningStatus.CREATE_IN_PROGRESS:
            platform.registry.tunings.move(row.id, TuningStatus.CREATE_FAILED, str(error))
        raise
