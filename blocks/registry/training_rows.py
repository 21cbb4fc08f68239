"""Trainings, as they are written."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from blocks.domain.errors import AlreadyExistsError, BusyError, ConcurrentUpdateError, InUseError, NotFoundError
from blocks.domain.lifecycle import TRAINING, UNDER_WAY, TrainingStatus
from blocks.domain.plan import RunHandle, RunPlan, Uploaded
from blocks.domain.specs import TrainingSpec
from blocks.domain.templates import TemplateUse
from blocks.registry.identity import now_us, storable
from blocks.registry.listing import join_tags, tag_hash
from blocks.registry.status_rows import StatusRows
from blocks.registry.storing import changed_rows, insert_new
from blocks.registry.tables import TrainingDocumentRow, TrainingRow, TrainingTagRow, TuningRow

_ENDING = frozenset(
    {TrainingStatus.STOP_IN_PROGRESS, TrainingStatus.FAIL_TRAIN_IN_PROGRESS, TrainingStatus.COMPLETE_IN_PROGRESS}
)
_UPLOADED = TypeAdapter(tuple[Uploaded, ...])


class TrainingRows(StatusRows[TrainingRow, TrainingStatus]):
    """The trainings, within one transaction."""

    row = TrainingRow
    lifecycle = TRAINING

    def create(
        self,
        spec: TrainingSpec,
        experiment_id: str,
        id: str,
        template: TemplateUse | None = None,
        *,
        trial_of: tuple[str, int] | None = None,
    ) -> None:
        """Insert it, or find the same request's row.

        Args:
            spec: Its settings.
            experiment_id: Of an experiment that there is.
            id: Its own.
            template: The one that the settings came from.
            trial_of: The id of a tuning and the number of the trial that it is; its name then ends in `/{number}`,
                which no other training's can.

        Raises:
            AlreadyExistsError: The name or the id is taken by another.
            NotFoundError: There is no such experiment.
        """
        at_us = now_us()
        status = TrainingStatus.CREATE_REQUESTED
        tags = storable_tags({tag.name: tag.value for tag in spec.tags})
        tuning_id, name = (trial_of[0], f"{spec.name}/{trial_of[1]}") if trial_of else (None, spec.name)
        row = TrainingRow(
            id=id,
            name=name,
            tuning_id=tuning_id,
            description=storable(spec.description),
            experiment_id=experiment_id,
            status=status.value,
            tags=join_tags(tags),
            created_us=at_us,
            changed_us=at_us,
        )
        try:
            inserted = insert_new(self._session, row)
        except IntegrityError as exc:
            raise NotFoundError("experiment", experiment_id) from exc
        if not inserted:
            self._same_request(spec, name, id)
            return
        origin = template.model_dump_json() if template else None
        self._session.add(TrainingDocumentRow(training_id=id, spec=spec.model_dump_json(), template=origin))
        self._write_tags(id, tags)
        self.begin_history(id, status, at_us)

    def change(self, id: str, description: str | None, tags: Mapping[str, str] | None) -> None:
        """Write another description, other tags; None leaves as it is.

        Raises:
            NotFoundError: There is no such training.
        """
        row = self.find(id)
        if description is not None:
            row.description = storable(description)
        if tags is not None:
            self._session.execute(delete(TrainingTagRow).where(col(TrainingTagRow.training_id) == id))
            clean = storable_tags(tags)
            row.tags = join_tags(clean)
            self._write_tags(id, clean)
        row.changed_us = now_us()
        self._session.add(row)

    def move_on(self, id: str, way: Sequence[TrainingStatus], reason: str) -> None:
        """Move through what is left of a way, of which somebody else may have gone a part, or to another's end.

        Raises:
            NotFoundError: There is no such training.
            IllegalTransitionError: The life cycle does not allow one of the moves.
            ConcurrentUpdateError: The status is no longer what was read here.
        """
        if left := _left_of(way, TrainingStatus(self.find(id).status)):
            self.move_through(id, left, reason)

    def give_up_name(self, id: str) -> None:
        """Let another training have its name: it is about to be removed.

        Raises:
            NotFoundError: There is no such training.
        """
        row = self.find(id)
        row.name = id
        self._session.add(row)
        self._session.flush()

    def explain(self, id: str, reason: str) -> None:
        """Say why its status is what it is, without a move.

        Raises:
            NotFoundError: There is no such training.
        """
        row = self.find(id)
        row.reason = storable(reason)
        self._session.add(row)

    def keep_plan(self, id: str, plan: RunPlan, replace: bool) -> None:
        """Keep the plan unless there is one.

        Raises:
            NotFoundError: There is no such training.
        """
        self.find(id)
        place = update(TrainingDocumentRow).where(col(TrainingDocumentRow.training_id) == id)
        if not replace:
            place = place.where(col(TrainingDocumentRow.plan).is_(None))
        self._session.execute(place.values(plan=plan.model_dump_json(), planned_us=now_us()))

    def keep_handle(self, id: str, handle: RunHandle) -> None:
        """Keep the handle; the run's id is the training's, so there is never another.

        Raises:
            NotFoundError: There is no such training.
        """
        self.find(id)
        place = update(TrainingDocumentRow).where(col(TrainingDocumentRow.training_id) == id)
        self._session.execute(place.values(handle=handle.model_dump_json()))

    def follow(
        self,
        id: str,
        *,
        after: int | None,
        event_cursor: int | None,
        log_cursors: Mapping[int, int] | None,
        reader_states: Mapping[int, Any] | None,
        uploaded: Sequence[Uploaded],
        logs_uploaded: bool | None,
        points_refused: int,
    ) -> None:
        """Write how far the run has been followed.

        Raises:
            NotFoundError: There is no such training.
            ConcurrentUpdateError: Somebody else has followed it since `after`.
        """
        revision, known, refused = self._followed(id)
        if after is not None and after != revision:
            raise ConcurrentUpdateError("training", id, f"revision {after}", f"revision {revision}")
        given = {
            "event_cursor": event_cursor,
            "log_cursors": None if log_cursors is None else json.dumps(dict(log_cursors)),
            "reader_states": None if reader_states is None else json.dumps(dict(reader_states)),
            "uploaded": _more(known, uploaded) if uploaded else None,
            "logs_uploaded": logs_uploaded,
        }
        values = {name: value for name, value in given.items() if value is not None}
        values |= {"revision": revision + 1, "points_refused": refused + points_refused}
        as_read = (col(TrainingDocumentRow.training_id) == id, col(TrainingDocumentRow.revision) == revision)
        if changed_rows(self._session, update(TrainingDocumentRow).where(*as_read).values(values)) != 1:
            raise ConcurrentUpdateError("training", id, f"revision {revision}", "a later one")

    def note_start(self, id: str, at_us: int) -> None:
        """An attempt ran from this moment on: the first one, or it paused since its workers were last seen."""
        row = self.find(id)
        if row.seen_us is not None and row.seen_us > (row.started_us or row.seen_us):  # else it has not run before
            row.paused_us += max(at_us - row.seen_us, 0)
        row.started_us = at_us if row.started_us is None else min(row.started_us, at_us)
        self.note_seen(id, at_us)

    def note_seen(self, id: str, at_us: int) -> None:
        """Its workers were seen running."""
        row = self.find(id)
        row.seen_us = max(row.seen_us or 0, at_us)
        self._session.add(row)

    def refuse_points(self, id: str, count: int) -> None:
        """Count points that were not stored."""
        more = {"points_refused": TrainingDocumentRow.points_refused + count}
        self._session.execute(
            update(TrainingDocumentRow).where(col(TrainingDocumentRow.training_id) == id).values(more)
        )

    def guard_delete(self, id: str) -> TrainingRow:
        """The row, when nothing stands in the way of deleting it.

        Raises:
            NotFoundError: There is no such training.
            BusyError: It is not over.
            InUseError: It is a trial of a tuning, which is named.
        """
        row = self.find(id)
        status = TrainingStatus(row.status)
        if row.tuning_id is not None:
            tuning = self._session.exec(select(TuningRow.name).where(col(TuningRow.id) == row.tuning_id)).one()
            remedy = f"Delete the tuning: `makerflow tuning delete {tuning}`."
            raise InUseError("training", row.name, "delete", [("tuning", tuning, row.tuning_id)], remedy)
        if status in UNDER_WAY:
            remedy = f"Stop it first: `makerflow training stop {row.name}`."
            raise BusyError("training", row.name, id, status, "delete", remedy)
        return row

    def delete(self, id: str) -> None:
        """Delete it with its tags, documents, metrics and history.

        Raises:
            NotFoundError: There is no such training.
            BusyError: It is not over.
        """
        self.remove(self.guard_delete(id))

    def _also(self, row: TrainingRow, target: TrainingStatus, at_us: int) -> Mapping[str, Any]:
        if target is TrainingStatus.RUNNING and row.started_us is None:
            return {"started_us": at_us}
        return {"ended_us": _ended_us(row, at_us)} if TRAINING.is_final(target) else {}

    def _same_request(self, spec: TrainingSpec, name: str, id: str) -> None:
        taken = self.named(name)
        if taken is None or taken.id != id or self._spec(id) != spec.model_dump_json():
            raise AlreadyExistsError("training", name, taken.id if taken else id)

    def _spec(self, id: str) -> str:
        return self._session.exec(
            select(TrainingDocumentRow.spec).where(col(TrainingDocumentRow.training_id) == id)
        ).one()

    def _followed(self, id: str) -> tuple[int, str, int]:
        """Revision, uploads and refused points; never the plan, which may be megabytes."""
        row = TrainingDocumentRow
        found = self._session.exec(
            select(row.revision, row.uploaded, row.points_refused).where(col(TrainingDocumentRow.training_id) == id)
        ).first()
        if found is None:
            raise NotFoundError("training", id)
        return found

    def _write_tags(self, id: str, tags: Mapping[str, str]) -> None:
        rows = [
            {"training_id": id, "name": name, "value": value, "value_hash": tag_hash(value)}
            for name, value in tags.items()
        ]
        if rows:
            self._session.execute(insert(TrainingTagRow), rows)


def _left_of(way: Sequence[TrainingStatus], at: TrainingStatus) -> Sequence[TrainingStatus]:
    if at in way:
        return way[way.index(at) + 1 :]
    if at not in _ENDING and not TRAINING.is_final(at):
        return way
    return [target for target in TRAINING.moves[at] if TRAINING.is_final(target) and TRAINING.is_final(way[-1])]


def storable_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as both databases take them."""
    return {storable(name): storable(value) for name, value in tags.items()}


def _more(known: str, uploaded: Sequence[Uploaded]) -> str:
    """The uploads with these added; one that is there already is not added twice."""
    both = {upload.sequence: upload for upload in (*_UPLOADED.validate_json(known), *uploaded)}
    return _UPLOADED.dump_json(tuple(both[sequence] for sequence in sorted(both))).decode()


def _ended_us(row: TrainingRow, moved_us: int) -> int:
    """When its workers were last seen running, however much later somebody heard of it; else when it was moved."""
    return moved_us if row.seen_us is None or row.started_us is None else max(row.seen_us, row.started_us)
