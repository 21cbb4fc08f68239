"""Experiments, as they are written."""

from sqlmodel import col, select

from blocks.domain.errors import AlreadyExistsError, BusyError, InUseError
from blocks.domain.lifecycle import EXPERIMENT, ExperimentStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.identity import now_us, storable
from blocks.registry.status_rows import StatusRows
from blocks.registry.storing import insert_new
from blocks.registry.tables import ExperimentRow, TrainingRow

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
            InUseError: Trainings belong to it; they are named.
        """
        row = self.find(id)
        if row.status in _CREATING:
            remedy = "Wait until it is ACTIVE, then delete it."
            raise BusyError("experiment", row.name, id, row.status, "delete", remedy)
        inside = (
            select(TrainingRow.name, TrainingRow.id)
            .where(TrainingRow.experiment_id == id)
            .order_by(col(TrainingRow.created_us), col(TrainingRow.id))
            .limit(NAMED_BLOCKERS)
        )
        blockers = [("training", name, training_id) for name, training_id in self._session.exec(inside)]
        if blockers:
            raise InUseError(
                "experiment", row.name, "delete", blockers, "Delete them first: `makerflow training delete`."
            )
        return row

    def delete(self, id: str) -> None:
        """Delete it; the database refuses when a training came in meanwhile.

        Raises:
            NotFoundError: There is no such experiment.
            InUseError: Something stands in the way.
        """
        self.remove(self.guard_delete(id))
