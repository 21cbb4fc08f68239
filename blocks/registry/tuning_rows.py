"""Tunings, as they are written."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from blocks.domain.errors import AlreadyExistsError, BusyError, NotFoundError
from blocks.domain.lifecycle import TUNING, TUNING_ENDINGS, TUNING_UNDER_WAY, TuningStatus
from blocks.domain.plan import RunPlan
from blocks.domain.templates import TemplateUse
from blocks.domain.tunings import TuningSpec
from blocks.registry.identity import now_us, storable
from blocks.registry.listing import join_tags
from blocks.registry.records import LearnedTrial
from blocks.registry.status_rows import StatusRows
from blocks.registry.storing import insert_new
from blocks.registry.tables import MoveRow, TrainingRow, TrialRow, TuningDocumentRow, TuningRow
from blocks.registry.training_rows import storable_tags

_LEARNED = TypeAdapter(tuple[LearnedTrial, ...])


class TuningRows(StatusRows[TuningRow, TuningStatus]):
    """The tunings, within one transaction."""

    row = TuningRow
    lifecycle = TUNING

    def create(self, spec: TuningSpec, experiment_id: str, id: str, template: TemplateUse | None) -> None:
        """Insert it, or find the same request's row.

        Raises:
            AlreadyExistsError: The name or the id is taken by another.
            NotFoundError: There is no such experiment.
        """
        at_us, status = now_us(), TuningStatus.CREATE_REQUESTED
        row = TuningRow(
            id=id,
            name=spec.name,
            description=storable(spec.description),
            experiment_id=experiment_id,
            status=status.value,
            tags=join_tags(storable_tags({tag.name: tag.value for tag in spec.tags})),
            created_us=at_us,
            changed_us=at_us,
        )
        try:
            inserted = insert_new(self._session, row)
        except IntegrityError as exc:
            raise NotFoundError("experiment", experiment_id) from exc
        if inserted:
            origin = template.model_dump_json() if template else None
            self._session.add(TuningDocumentRow(tuning_id=id, spec=spec.model_dump_json(), template=origin))
            self.begin_history(id, status, at_us)
            return
        taken = self.named(spec.name)
        if taken is None or taken.id != id:
            raise AlreadyExistsError("tuning", spec.name, taken.id if taken else id)

    def change(self, id: str, description: str | None, tags: Mapping[str, str] | None) -> None:
        """Write another description, other tags; None leaves as it is.

        Raises:
            NotFoundError: There is no such tuning.
        """
        row = self.find(id)
        if description is not None:
            row.description = storable(description)
        if tags is not None:
            row.tags = join_tags(storable_tags(tags))
        row.changed_us = now_us()
        self._session.add(row)

    def explain(self, id: str, reason: str) -> None:
        """Say why its status is what it is, without a move.

        Raises:
            NotFoundError: There is no such tuning.
        """
        row = self.find(id)
        row.reason = storable(reason)
        self._session.add(row)

    def keep_plan(self, id: str, plan: RunPlan, learned: Sequence[LearnedTrial]) -> None:
        """Keep what its trials have in common, unless that is known already.

        Raises:
            NotFoundError: There is no such tuning.
        """
        self.find(id)
        place = col(TuningDocumentRow.tuning_id) == id, col(TuningDocumentRow.plan).is_(None)
        values = {
            "plan": plan.model_dump_json(),
            "planned_us": now_us(),
            "learned": _LEARNED.dump_json(tuple(learned)).decode(),
        }
        self._session.execute(update(TuningDocumentRow).where(*place).values(values))

    def go_on(self, id: str, spec: TuningSpec, reason: str) -> None:
        """Keep these settings; from where it rests it goes back to CREATE IN PROGRESS.

        Raises:
            NotFoundError: There is no such tuning.
        """
        if TuningStatus(self.find(id).status) in TUNING_ENDINGS:
            self.move(id, TuningStatus.CREATE_IN_PROGRESS, reason, None)
        place = col(TuningDocumentRow.tuning_id) == id
        self._session.execute(update(TuningDocumentRow).where(place).values(spec=spec.model_dump_json()))

    def keep_best(self, id: str, number: int, value: float) -> None:
        """Keep which trial is the best.

        Raises:
            NotFoundError: There is no such tuning.
        """
        row = self.find(id)
        row.best_number, row.best_value = number, value
        self._session.add(row)

    def guard_delete(self, id: str) -> TuningRow:
        """The row, when nothing stands in the way of deleting it.

        Raises:
            NotFoundError: There is no such tuning.
            BusyError: It is not over.
        """
        row = self.find(id)
        status = TuningStatus(row.status)
        if status in TUNING_UNDER_WAY:
            remedy = f"Stop it first: `makerflow tuning stop {row.name}`."
            raise BusyError("tuning", row.name, id, status, "delete", remedy)
        return row

    def delete(self, id: str) -> None:
        """Delete it with its trials, their trainings, and all that is known of them.

        Raises:
            NotFoundError: There is no such tuning.
            BusyError: It is not over.
        """
        row = self.guard_delete(id)
        trainings = select(col(TrainingRow.id)).where(col(TrainingRow.tuning_id) == id)
        self._session.execute(delete(MoveRow).where(col(MoveRow.resource_id).in_(trainings)))
        self._session.execute(delete(TrialRow).where(col(TrialRow.tuning_id) == id))
        self._session.execute(delete(TrainingRow).where(col(TrainingRow.tuning_id) == id))
        self.remove(row)

    def rests(self, status: TuningStatus) -> bool:
        """As promised: a tuning that is over can be gone on with, so none of these is final."""
        return status in TUNING_ENDINGS

    def _also(self, row: TuningRow, target: TuningStatus, at_us: int) -> Mapping[str, Any]:
        if target is TuningStatus.RUNNING and row.started_us is None:
            return {"started_us": at_us}
        if target in TUNING_ENDINGS:
            return {"ended_us": at_us}
        if target is TuningStatus.CREATE_IN_PROGRESS and row.ended_us is not None:
            rest_us = at_us - row.ended_us if row.started_us is not None else 0  # one that never began had no pause
            return {"ended_us": None, "paused_us": row.paused_us + rest_us}
        return {}
