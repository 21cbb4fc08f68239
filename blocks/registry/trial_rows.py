"""Trials of tunings, as they are written."""

import json
from collections.abc import Mapping

from sqlalchemy import update
from sqlmodel import Session, col

from blocks.domain.errors import ConcurrentUpdateError, NotFoundError
from blocks.domain.lifecycle import TRIAL, TrialStatus
from blocks.domain.trials import Objective
from blocks.registry.identity import now_us, storable
from blocks.registry.storing import changed_rows, insert_new
from blocks.registry.tables import TrialRow


class TrialRows:
    """The trials, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, tuning_id: str, number: int, training_id: str, parameters: Mapping[str, str]) -> bool:
        """Insert it, CREATED; False when it is there."""
        at_us = now_us()
        row = TrialRow(
            tuning_id=tuning_id,
            number=number,
            training_id=training_id,
            status=TrialStatus.CREATED.value,
            parameters=json.dumps(dict(parameters)),
            runs=1,
            created_us=at_us,
            changed_us=at_us,
        )
        return insert_new(self._session, row)

    def find(self, tuning_id: str, number: int) -> TrialRow:
        """The row.

        Raises:
            NotFoundError: There is none.
        """
        found = self._session.get(TrialRow, (tuning_id, number))
        if found is None:
            raise NotFoundError("trial", f"{tuning_id}/{number}")
        return found

    def move(
        self, tuning_id: str, number: int, target: TrialStatus, reason: str, objective: Objective | None = None
    ) -> None:
        """Move its status; a move to the same status changes nothing.

        Raises:
            NotFoundError: There is no such trial.
            IllegalTransitionError: The life cycle does not allow it.
            ConcurrentUpdateError: Somebody else has moved it.
        """
        row = self.find(tuning_id, number)
        source = TrialStatus(row.status)
        if source is target:
            return
        TRIAL.check(f"{tuning_id}/{number}", source, target)
        values: dict[str, object] = {"status": target.value, "reason": storable(reason), "changed_us": now_us()}
        if objective is not None:
            values |= {"objective": objective.value, "objective_step": objective.step}
        self._change(row, source, values)

    def keep_verdict(self, tuning_id: str, number: int, verdict: TrialStatus, reason: str) -> None:
        """Keep what it is to be once its run is ended, and why.

        Raises:
            NotFoundError: There is no such trial.
            ConcurrentUpdateError: Somebody else has moved it.
        """
        row = self.find(tuning_id, number)
        values = {"verdict": verdict.value, "reason": storable(reason), "changed_us": now_us()}
        self._change(row, TrialStatus(row.status), values)

    def run_again(self, tuning_id: str, number: int, training_id: str) -> None:
        """From KILLED back to CREATED, in another training.

        Raises:
            NotFoundError: There is no such trial.
            IllegalTransitionError: It was not killed.
            ConcurrentUpdateError: Somebody else has moved it.
        """
        row = self.find(tuning_id, number)
        source, target = TrialStatus(row.status), TrialStatus.CREATED
        TRIAL.check(f"{tuning_id}/{number}", source, target)
        values = {"status": target.value, "reason": "", "training_id": training_id, "runs": row.runs + 1}
        unknown = dict.fromkeys(("verdict", "objective", "objective_step"))
        self._change(row, source, values | unknown | {"changed_us": now_us()})

    def _change(self, row: TrialRow, source: TrialStatus, values: Mapping[str, object]) -> None:
        as_read = (
            col(TrialRow.tuning_id) == row.tuning_id,
            col(TrialRow.number) == row.number,
            col(TrialRow.status) == source.value,
        )
        if changed_rows(self._session, update(TrialRow).where(*as_read).values(dict(values))) != 1:
            raise ConcurrentUpdateError("trial", f"{row.tuning_id}/{row.number}", source, "something else")
        self._session.expire(row)
