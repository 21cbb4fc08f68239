"""Experiments, as they are written."""

from sqlalchemy import ColumnElement
from sqlmodel import col, select

from blocks.domain.errors import AlreadyExistsError, BusyError, InUseError
from blocks.domain.lifecycle import EXPERIMENT, ExperimentStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.identity import now_us, storable
from blocks.registry.status_rows import StatusRows
from blocks.registry.storing import insert_new
from blocks.registry.tables import ExperimentRow, TrainingRow, TuningRow

NAMED_BLOCKERS = 1000
_CREATING = (ExperimentStatus.CREATE_REQUESTED, ExperimentStatus.CREATE_IN_PROGRESS)


class ExperimentRows(StatusRows[ExperimentRow, ExperimentStatus]):
    """The experiments, within one transaction."""

    row = ExperimentRow
    lifecycle = EXPERIMENT

    def create(self, spec: ExperimentSpec, id: str) -> None:
        """Insert it, or find the same request's row.

        Raises:
            AlreadyExistsError: The name or the id is taken by another.
        """
        at_us = now_us()
        status = ExperimentStatus.CREATE_REQUESTED
        row = ExperimentRow(
            id=id,
            name=spec.name,
            description=storable(spec.description),
            status=status.value,
            created_us=at_us,
            changed_us=at_us,
        )
        if insert_new(self._session, row):
            self.begin_history(id, status, at_us)
            return
        if (taken := self.named(spec.name)) is None or taken.id != id:
            raise AlreadyExistsError("experiment", spec.name, taken.id if taken else id)

    def ensure(self, spec: ExperimentSpec, id: str) -> str:
        """The id of the experiment of this name; made and ACTIVE when there was none."""
        if found := self.named(spec.name):
            return found.id
        try:
            self.create(spec, id)
        except AlreadyExistsError as taken:  # by somebody who was quicker
            return taken.id
        for status in (ExperimentStatus.CREATE_IN_PROGRESS, ExperimentStatus.ACTIVE):
            self.move(id, status, "made on the way", None)
        return id

    def change(self, id: str, description: str) -> None:
        """Write another description.

        Raises:
            NotFoundError: There is no such experiment.
        """
        row = self.find(id)
        row.description = storable(description)
        row.changed_us = now_us()
        self._session.add(row)

    def guard_delete(self, id: str) -> ExperimentRow:
        """The row, when nothing stands in the way of deleting it.

        Raises:
            NotFoundError: There is no such experiment.
            BusyError: It is being created.
            InUseError: Trainings or tunings belong to it; they are named.
        """
        row = self.find(id)
        if row.status in _CREATING:
            remedy = "Wait until it is ACTIVE, then delete it."
            raise BusyError("experiment", row.name, id, row.status, "delete", remedy)
        trainings = self._inside(TrainingRow, id, col(TrainingRow.tuning_id).is_(None))
        tunings = self._inside(TuningRow, id)
        if blockers := [("training", *one) for one in trainings] + [("tuning", *one) for one in tunings]:
            commands = [f"`makerflow {kind} delete`" for kind in sorted({kind for kind, _, _ in blockers})]
            remedy = f"Delete them first: {' and '.join(commands)}."
            raise InUseError("experiment", row.name, "delete", blockers, remedy)
        return row

    def _inside(
        self, kind: type[TrainingRow] | type[TuningRow], id: str, *only: ColumnElement[bool]
    ) -> list[tuple[str, str]]:
        """Name and id of what belongs to an experiment, the oldest first."""
        inside = select(kind.name, kind.id).where(col(kind.experiment_id) == id, *only)
        return list(self._session.exec(inside.order_by(col(kind.created_us), col(kind.id)).limit(NAMED_BLOCKERS)))

    def delete(self, id: str) -> None:
        """Delete it; the database refuses when a training came in meanwhile.

        Raises:
            NotFoundError: There is no such experiment.
            InUseError: Something stands in the way.
        """
        self.remove(self.guard_delete(id))
