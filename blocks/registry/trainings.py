"""Trainings: rows that their flows move on, and that lists show."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from pydantic import TypeAdapter, ValidationError

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.lifecycle import UNDER_WAY, TrainingStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import from_microseconds, to_microseconds
from blocks.domain.plan import Restarted, RunHandle, RunPlan, Uploaded, Usage
from blocks.domain.specs import MAX_TAGS, NamedValue, TrainingSpec
from blocks.domain.templates import TemplateUse
from blocks.registry.identity import check_id, new_id
from blocks.registry.listing import Listing, list_page, split_tags
from blocks.registry.names import free_name
from blocks.registry.reading import Reader, Row, Rows, history_of
from blocks.registry.records import ALL, Move, Page, Query, Training, TrainingSummary
from blocks.registry.sessions import Sessions

PREFIX = "trn"
_COLUMNS = (
    "t.id, t.name, t.description, t.experiment_id, e.name AS experiment_name, t.status, t.reason, t.tags, "
    "t.created_us, t.changed_us, t.started_us, t.ended_us, t.paused_us, t.tuning_id"
)
_SOURCE = "training t JOIN experiment e ON e.id = t.experiment_id"
_LISTING = Listing(
    "training",
    _COLUMNS,
    _SOURCE,
    TrainingStatus,
    tagged=True,
    tags="training_tag",
    grouped=True,
    only="t.tuning_id IS NULL",  # trials are listed with their tuning
)
_DOCUMENTS = (
    "d.spec, d.planned_us, d.handle, d.event_cursor, d.log_cursors, d.reader_states, d.uploaded, d.logs_uploaded, "
    "d.points_refused, d.revision, d.template"
)
_ONE = (
    f"SELECT {_COLUMNS}, {_DOCUMENTS} "  # noqa: S608 - constants of this module
    f"FROM {_SOURCE} JOIN training_document d ON d.training_id = t.id "
    # An id comes before a name, should anybody give a name that is another's id.
    "WHERE t.id = :key OR t.name = :key ORDER BY t.id <> :key LIMIT 1"
)
_PLAN = "SELECT plan FROM training_document WHERE training_id = :id"
_EXPERIMENT = "SELECT id FROM experiment WHERE id = :key OR name = :key ORDER BY id <> :key LIMIT 1"
_UNDER_WAY = ", ".join(f"'{status}'" for status in sorted(UNDER_WAY))
_CLAIM = (
    "SELECT t.id FROM training t JOIN training_document d ON d.training_id = t.id "  # noqa: S608 - constants
    f"WHERE t.status IN ({_UNDER_WAY}) AND t.id <> :id AND {{find}}(d.plan, :output) > 0 LIMIT 1"
)
_MOMENTS = ("created", "changed", "started", "ended")
_JSON: dict[str, TypeAdapter[Any]] = {
    "log_cursors": TypeAdapter(dict[int, int]),
    "reader_states": TypeAdapter(dict[int, Any]),
    "uploaded": TypeAdapter(tuple[Uploaded, ...]),
}


class Trainings:
    """The trainings of a registry. Each call is one short transaction."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions
        self._plans: WeakValueDictionary[tuple[str, int], RunPlan] = WeakValueDictionary()

    def create(
        self, spec: TrainingSpec, experiment_id: str, *, id: str | None = None, template: TemplateUse | None = None
    ) -> Training:
        """Make it, CREATE REQUESTED; with the same id and spec a second time, find it.

        Args:
            spec: Its settings, whole.
            experiment_id: Of an experiment that there is.
            id: Made when it is not given.
            template: The one that the settings came from.

        Raises:
            AlreadyExistsError: The name is taken, or the id by another spec.
            NotFoundError: There is no such experiment.
            InvalidInputError: The id has not the form of one.
        """
        id = check_id(id or new_id(PREFIX), PREFIX)
        with self._sessions.begin() as write:
            write.trainings.create(spec, experiment_id, id, template)
            return self._find(write, id)

    def get(self, key: str) -> Training:
        """The training of an id or a name.

        Raises:
            NotFoundError: There is none.
        """
        return self._find(self._reader, key)

    def free_name(self, base: str) -> str:
        """`base` when no training has this name, else the first free of `base-2`, `base-3`, ...

        At most as long as a name may be, which can cut `base` short. Nothing is reserved: who creates the training
        first has the name.
        """
        return free_name(self._reader, "training", base)

    def is_claimed(self, path: str, *, by_other_than: str) -> bool:
        """Whether another training that is under way is planned to write to exactly this path."""
        output = f'"path":{json.dumps(path, ensure_ascii=False)},"connection":'
        claim = _CLAIM.format(find=self._reader.driver.find)
        return self._reader.row(claim, id=by_other_than, output=output) is not None

    def page(self, query: Query = ALL) -> Page[TrainingSummary]:
        """A page of the list.

        Raises:
            InvalidInputError: The query has an unknown status or order, or a cursor that is not of this list.
            NotFoundError: There is no such experiment.
        """
        return list_page(_LISTING, of_experiment(query, self._reader), self._reader, _summary)

    def move(
        self, id: str, to: TrainingStatus, reason: str = "", *, expected: TrainingStatus | None = None
    ) -> Training:
        """Move its status; a move to the status that it has changes nothing.

        Args:
            id: The training.
            to: Where to.
            reason: Kept with the move and shown with the training; a final status keeps the reason of the one before
                when it is given none.
            expected: Refuse unless this is its status now.

        Raises:
            NotFoundError: There is no such training.
            IllegalTransitionError: The life cycle does not allow the move.
            ConcurrentUpdateError: Somebody else has moved it.
        """
        with self._sessions.begin() as write:
            write.trainings.move(id, to, reason, expected)
            return self._find(write, id)

    def explain(self, id: str, reason: str) -> None:
        """Say why its status is what it is, e.g. what it waits for, without a move.

        Raises:
            NotFoundError: There is no such training.
        """
        with self._sessions.begin() as write:
            write.trainings.explain(id, reason)

    def change(self, id: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Training:
        """Write another description or other tags, all of them; None leaves as it is.

        Raises:
            NotFoundError: There is no such training.
            InvalidInputError: More than 10 tags, or one that is too long.
        """
        checked = None if tags is None else checked_tags(tags)
        with self._sessions.begin() as write:
            write.trainings.change(id, description, checked)
            return self._find(write, id)

    def keep_plan(self, id: str, plan: RunPlan, *, replace: bool = False) -> RunPlan:
        """Keep the plan of its run; the first one stays, and is returned.

        Args:
            id: The training.
            plan: What its workers need.
            replace: Put this one in the place of the first.

        Raises:
            NotFoundError: There is no such training.
        """
        with self._sessions.begin() as write:
            write.trainings.keep_plan(id, plan, replace)
            kept = self._find(write, id).plan
        return kept or plan

    def keep_handle(self, id: str, handle: RunHandle) -> None:
        """Keep by what its run is found again.

        Raises:
            NotFoundError: There is no such training.
        """
        with self._sessions.begin() as write:
            write.trainings.keep_handle(id, handle)

    def follow(
        self,
        id: str,
        *,
        after: int | None = None,
        event_cursor: int | None = None,
        log_cursors: Mapping[int, int] | None = None,
        reader_states: Mapping[int, Any] | None = None,
        uploaded: Sequence[Uploaded] = (),
        logs_uploaded: bool | None = None,
        points: Sequence[MetricPoint] = (),
        usage: Sequence[Usage] = (),
        started: datetime | None = None,
        seen: datetime | None = None,
        restarted: Restarted | None = None,
    ) -> Training:
        """Store what was read of its run together with how far it was read: all of it or nothing, exactly once.

        Args:
            id: The training.
            after: `Training.revision` of the row that reading began from; refuses when somebody else has followed
                since, and makes a call whose answer was lost safe to repeat.
            event_cursor: As on the record; what is None stays as it is.
            log_cursors: All ranks'.
            reader_states: All ranks'.
            uploaded: Added to what is known.
            logs_uploaded: As on the record.
            points: Reports of metrics, in order.
            usage: What its workers used, in order.
            started: When an attempt of a training that is RUNNING started. The first is the training's start; before a
                later one it paused since its workers were last seen.
            seen: When its workers were seen running.
            restarted: That all of its workers start again, for its history.

        Raises:
            NotFoundError: There is no such training.
            ConcurrentUpdateError: Somebody else has followed it: read the row again and go on from there.
        """
        with self._sessions.begin() as write:
            write.trainings.follow(
                id,
                after=after,
                event_cursor=event_cursor,
                log_cursors=log_cursors,
                reader_states=reader_states,
                uploaded=uploaded,
                logs_uploaded=logs_uploaded,
                points_refused=write.metrics.append(id, points) if points else 0,
            )
            write.note(id, usage, started, seen)
            if restarted:
                write.trainings.note_restart(id, to_microseconds(restarted.at), restarted.said)
            return self._find(write, id)

    def history(self, id: str) -> list[Move]:
        """Every move of its status, oldest first."""
        return history_of(self._reader, id)

    def guard_delete(self, id: str) -> None:
        """Raise what `delete` would raise, and delete nothing."""
        with self._sessions.begin() as write:
            write.trainings.guard_delete(id)

    def delete(self, id: str) -> None:
        """Delete it with its metrics and history.

        Raises:
            NotFoundError: There is no such training.
            BusyError: It is not over.
        """
        with self._sessions.begin() as write:
            write.trainings.delete(id)

    def _find(self, rows: Rows, key: str) -> Training:
        found = rows.rows(_ONE, key=key)
        if not found:
            raise NotFoundError("training", key)
        values = plain_row(found[0])
        planned_us = values.pop("planned_us")
        return Training(
            **values
            | {name: kind.validate_json(values[name]) for name, kind in _JSON.items()}
            | {
                "spec": TrainingSpec.model_validate_json(values["spec"]),
                "plan": None if planned_us is None else self._plan(rows, values["id"], planned_us),
                "handle": RunHandle.model_validate_json(values["handle"]) if values["handle"] else None,
                "template": TemplateUse.model_validate_json(values["template"]) if values["template"] else None,
            }
        )

    def _plan(self, rows: Rows, id: str, planned_us: int) -> RunPlan:
        """The plan, which may hold a million objects: read once for all records that are in use."""
        plan = self._plans.get((id, planned_us))
        if plan is None:
            plan = RunPlan.model_validate_json(rows.rows(_PLAN, id=id)[0]["plan"])
            self._plans[(id, planned_us)] = plan
        return plan


def of_experiment(query: Query, reader: Reader) -> Query:
    """The query with the id of the experiment that it names.

    Raises:
        NotFoundError: There is no such experiment.
    """
    if not query.experiment:
        return query
    found = reader.row(_EXPERIMENT, key=query.experiment)
    if found is None:
        raise NotFoundError("experiment", query.experiment)
    return query.model_copy(update={"experiment": found["id"]})


def _summary(row: Row) -> TrainingSummary:
    return TrainingSummary(**plain_row(row))


def plain_row(row: Row) -> dict[str, Any]:
    """The columns of a listed row as a record has them."""
    values = timed(row)
    return values | {"tags": split_tags(values["tags"])}


def timed(row: Row) -> dict[str, Any]:
    """The columns of a row, its moments and its pauses as records have them."""
    values = dict(row)
    for name in _MOMENTS:
        microseconds = values.pop(f"{name}_us")
        values[name] = None if microseconds is None else from_microseconds(microseconds)
    values["paused_seconds"] = values.pop("paused_us") / 1e6
    return values


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags within their limits.

    Raises:
        InvalidInputError: More than 10, or one that is too long.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidInputError(f"{len(tags)} tags", f"a resource has at most {MAX_TAGS}", "Leave some out.")
    try:
        return {tag.name: tag.value for tag in (NamedValue(name=name, value=value) for name, value in tags.items())}
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError("tags", first["msg"], "Correct it and try again.") from error
