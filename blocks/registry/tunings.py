"""Tunings and their trials."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TRIAL_FAILED, TrainingStatus, TrialStatus, TuningStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import to_microseconds
from blocks.domain.plan import RunPlan, Uploaded, Usage
from blocks.domain.specs import TrainingSpec
from blocks.domain.templates import TemplateUse
from blocks.domain.trials import Objective
from blocks.domain.tunings import TuningSpec
from blocks.registry.identity import check_id, new_id
from blocks.registry.listing import Listing, list_page
from blocks.registry.names import free_name
from blocks.registry.reading import Reader, Row, Rows, history_of
from blocks.registry.records import ALL, LearnedTrial, Move, Page, Query, Trial, Tuning, TuningSummary
from blocks.registry.sessions import Sessions
from blocks.registry.trainings import checked_tags, of_experiment, plain_row, timed

PREFIX = "tun"

_COUNTED = {
    "completed": (TrialStatus.SUCCEEDED, TrialStatus.EARLY_STOPPED),
    "running": (TrialStatus.CREATED, TrialStatus.RUNNING),
    "failed": tuple(sorted(TRIAL_FAILED)),
    "killed": (TrialStatus.KILLED,),
}


def _count(name: str) -> str:
    statuses = ", ".join(f"'{status}'" for status in _COUNTED[name])
    return f"(SELECT count(*) FROM trial r WHERE r.tuning_id = t.id AND r.status IN ({statuses})) AS {name}"  # noqa: S608 - constants of this module


_COLUMNS = (
    "t.id, t.name, t.description, t.experiment_id, e.name AS experiment_name, t.status, t.reason, t.tags, "
    "t.created_us, t.changed_us, t.started_us, t.ended_us, t.paused_us, t.best_number, t.best_value, "
    + ", ".join(map(_count, _COUNTED))
)
_SOURCE = "tuning t JOIN experiment e ON e.id = t.experiment_id"
_LISTING = Listing("tuning", _COLUMNS, _SOURCE, TuningStatus, tagged=True, grouped=True)
# An id comes before a name, should anybody give a name that is another's id.
_KEY = "WHERE t.id = :key OR t.name = :key ORDER BY t.id <> :key LIMIT 1"
_SUMMARY = f"SELECT {_COLUMNS} FROM {_SOURCE} {_KEY}"  # noqa: S608 - constants of this module
_ONE = (
    f"SELECT {_COLUMNS}, d.spec, d.plan, d.learned, d.template "  # noqa: S608 - constants of this module
    f"FROM {_SOURCE} JOIN tuning_document d ON d.tuning_id = t.id {_KEY}"
)
_TRIALS = (
    "SELECT r.tuning_id, r.number, r.training_id, r.status, r.reason, r.parameters, r.objective, r.objective_step, "
    "r.runs, r.verdict, r.created_us, r.changed_us, t.started_us, t.ended_us, t.paused_us "
    "FROM trial r JOIN training t ON t.id = r.training_id WHERE r.tuning_id = :id"
)
_LEARNED = TypeAdapter(tuple[LearnedTrial, ...])


@dataclass(frozen=True)
class Followed:
    """What was read of the run of a trial, and how far; the fields are those of `Trainings.follow`."""

    after: int | None = None
    event_cursor: int | None = None
    log_cursors: Mapping[int, int] | None = None
    reader_states: Mapping[int, Any] | None = None
    uploaded: Sequence[Uploaded] = ()
    logs_uploaded: bool | None = None
    points: Sequence[MetricPoint] = ()
    usage: Sequence[Usage] = ()
    started: datetime | None = None
    seen: datetime | None = None


@dataclass(frozen=True)
class TrialMove:
    """Where a trial and its training move.

    Attributes:
        to: The trial's status.
        reason: Of both.
        objective: What the trial has reached.
        best: Whether that is the best of the tuning so far.
        training: The statuses that its training goes through, the last one last.
    """

    to: TrialStatus
    reason: str = ""
    objective: Objective | None = None
    best: bool = False
    training: Sequence[TrainingStatus] = field(default=())


class Tunings:
    """The tunings of a registry. Each call is one short transaction."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def create(
        self, spec: TuningSpec, experiment_id: str, *, id: str | None = None, template: TemplateUse | None = None
    ) -> Tuning:
        """Make it, CREATE REQUESTED; with the same id and name a second time, find it.

        Raises:
            AlreadyExistsError: The name is taken.
            NotFoundError: There is no such experiment.
            InvalidInputError: The id has not the form of one.
        """
        id = check_id(id or new_id(PREFIX), PREFIX)
        with self._sessions.begin() as write:
            write.tunings.create(spec, experiment_id, id, template)
            return _find(write, id)

    def get(self, key: str) -> Tuning:
        """The tuning of an id or a name.

        Raises:
            NotFoundError: There is none.
        """
        return _find(self._reader, key)

    def status(self, id: str) -> TuningStatus:
        """Only the status of a tuning, by its id.

        Raises:
            NotFoundError: There is none.
        """
        row = self._reader.row("SELECT status FROM tuning WHERE id = :id", id=id)
        if row is None:
            raise NotFoundError("tuning", id)
        return TuningStatus(row["status"])

    def summary(self, key: str) -> TuningSummary:
        """The same as `get` without its settings and its plan, which can be large.

        Raises:
            NotFoundError: There is none.
        """
        return _summary(_row(self._reader, _SUMMARY, key))

    def free_name(self, base: str) -> str:
        """`base` when no tuning has this name, else the first free of `base-2`, `base-3`, ..."""
        return free_name(self._reader, "tuning", base)

    def page(self, query: Query = ALL) -> Page[TuningSummary]:
        """A page of the list.

        Raises:
            InvalidInputError: The query has an unknown status or order, or a cursor that is not of this list.
            NotFoundError: There is no such experiment.
        """
        return list_page(_LISTING, of_experiment(query, self._reader), self._reader, _summary)

    def move(self, id: str, to: TuningStatus, reason: str = "", *, expected: TuningStatus | None = None) -> Tuning:
        """Move its status; a move to the status that it has changes nothing.

        Raises:
            NotFoundError: There is no such tuning.
            IllegalTransitionError: The life cycle does not allow the move.
            ConcurrentUpdateError: Somebody else has moved it, or it is not what was `expected`.
        """
        with self._sessions.begin() as write:
            write.tunings.move(id, to, reason, expected)
            return _find(write, id)

    def explain(self, id: str, reason: str) -> None:
        """Say why its status is what it is, without a move.

        Raises:
            NotFoundError: There is no such tuning.
        """
        with self._sessions.begin() as write:
            write.tunings.explain(id, reason)

    def change(self, id: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Tuning:
        """Write another description or other tags, all of them; None leaves as it is.

        Raises:
            NotFoundError: There is no such tuning.
            InvalidInputError: More than 10 tags, or one that is too long.
        """
        checked = None if tags is None else checked_tags(tags)
        with self._sessions.begin() as write:
            write.tunings.change(id, description, checked)
            return _find(write, id)

    def go_on(self, id: str, spec: TuningSpec, reason: str) -> Tuning:
        """Keep these settings, whose limits may be other ones; from where it rests it goes back to CREATE IN PROGRESS.

        Raises:
            NotFoundError: There is no such tuning.
        """
        with self._sessions.begin() as write:
            write.tunings.go_on(id, spec, reason)
            return _find(write, id)

    def keep_plan(self, id: str, plan: RunPlan, learned: Sequence[LearnedTrial] = ()) -> Tuning:
        """Keep what its trials have in common, and what it learns from; what was kept first stays.

        Raises:
            NotFoundError: There is no such tuning.
        """
        with self._sessions.begin() as write:
            write.tunings.keep_plan(id, plan, learned)
            return _find(write, id)

    def history(self, id: str) -> list[Move]:
        """Every move of its status, oldest first."""
        return history_of(self._reader, id)

    def guard_delete(self, id: str) -> None:
        """Raise what `delete` would raise, and delete nothing."""
        with self._sessions.begin() as write:
            write.tunings.guard_delete(id)

    def delete(self, id: str) -> None:
        """Delete it with its trials, their metrics and histories.

        Raises:
            NotFoundError: There is no such tuning.
            BusyError: It is not over.
        """
        with self._sessions.begin() as write:
            write.tunings.delete(id)

    def trials(self, id: str, *, changed_since: datetime | None = None) -> list[Trial]:
        """All trials, or those that have changed since, by number."""
        since = 0 if changed_since is None else to_microseconds(changed_since)
        rows = self._reader.rows(f"{_TRIALS} AND r.changed_us >= :since ORDER BY r.number", id=id, since=since)
        return [_trial(row) for row in rows]

    def trial(self, id: str, number: int) -> Trial:
        """One trial.

        Raises:
            NotFoundError: There is none of this number.
        """
        return _one_trial(self._reader, id, number)

    def add_trial(self, tuning: Tuning, number: int, point: Mapping[str, str], training_id: str) -> Trial:
        """Make a trial, CREATED, and its training, CREATE IN PROGRESS; when there is one of this number, find it."""
        spec = tuning.spec.training_spec(point, number)
        with self._sessions.begin() as write:
            if not write.rows(f"{_TRIALS} AND r.number = :number", id=tuning.id, number=number):
                write.trainings.create(spec, tuning.experiment_id, training_id, trial_of=(tuning.id, number))
                write.trainings.move(training_id, TrainingStatus.CREATE_IN_PROGRESS, "", None)
                write.trials.create(tuning.id, number, training_id, point)
            return _one_trial(write, tuning.id, number)

    def run_again(self, tuning: Tuning, trial: Trial, training_id: str) -> Trial:
        """Make a KILLED trial CREATED again, with another training in the place of the one that was ended.

        Raises:
            IllegalTransitionError: It was not killed.
        """
        spec: TrainingSpec = tuning.spec.training_spec(trial.parameters, trial.number)
        with self._sessions.begin() as write:
            write.trainings.give_up_name(trial.training_id)
            write.trainings.create(spec, tuning.experiment_id, training_id, trial_of=(tuning.id, trial.number))
            write.trainings.move(training_id, TrainingStatus.CREATE_IN_PROGRESS, "", None)
            write.trials.run_again(tuning.id, trial.number, training_id)
            write.trainings.remove(write.trainings.find(trial.training_id))
            return _one_trial(write, tuning.id, trial.number)

    def keep_verdict(self, trial: Trial, verdict: TrialStatus, reason: str) -> None:
        """Keep what a trial that runs is to be once its run is ended, before that is asked for; and why.

        Raises:
            NotFoundError: There is no such trial.
            ConcurrentUpdateError: Its status has changed since it was read.
        """
        with self._sessions.begin() as write:
            write.trials.keep_verdict(trial.tuning_id, trial.number, verdict, reason)

    def follow(self, trial: Trial, followed: Followed, move: TrialMove | None = None) -> None:
        """Store what was read of the run of a trial, and where that moves it: all of it or nothing, exactly once.

        A training that is on its way, or at its end, already, goes no step twice.

        Raises:
            ConcurrentUpdateError: Somebody else has followed it: read the row again and go on from there.
        """
        id = trial.training_id
        with self._sessions.begin() as write:
            write.trainings.follow(
                id,
                after=followed.after,
                event_cursor=followed.event_cursor,
                log_cursors=followed.log_cursors,
                reader_states=followed.reader_states,
                uploaded=followed.uploaded,
                logs_uploaded=followed.logs_uploaded,
                points_refused=write.metrics.append(id, followed.points) if followed.points else 0,
            )
            write.note(id, followed.usage, followed.started, followed.seen)
            if move is not None:
                if move.training:
                    write.trainings.move_on(id, move.training, move.reason)
                write.trials.move(trial.tuning_id, trial.number, move.to, move.reason, move.objective)
                if move.best and move.objective is not None:
                    write.tunings.keep_best(trial.tuning_id, trial.number, move.objective.value)


def _row(rows: Rows, statement: str, key: str) -> Row:
    found = rows.rows(statement, key=key)
    if not found:
        raise NotFoundError("tuning", key)
    return found[0]


def _find(rows: Rows, key: str) -> Tuning:
    values = plain_row(_row(rows, _ONE, key))
    return Tuning(
        **values
        | {
            "spec": TuningSpec.model_validate_json(values["spec"]),
            "plan": RunPlan.model_validate_json(values["plan"]) if values["plan"] else None,
            "learned": _LEARNED.validate_json(values["learned"]),
            "template": TemplateUse.model_validate_json(values["template"]) if values["template"] else None,
        }
    )


def _summary(row: Row) -> TuningSummary:
    return TuningSummary(**plain_row(row))


def _one_trial(rows: Rows, tuning_id: str, number: int) -> Trial:
    found = rows.rows(f"{_TRIALS} AND r.number = :number", id=tuning_id, number=number)
    if not found:
        raise NotFoundError("trial", f"{tuning_id}/{number}")
    return _trial(found[0])


def _trial(row: Row) -> Trial:
    values = timed(row)
    return Trial(**values | {"parameters": json.loads(values["parameters"])})
