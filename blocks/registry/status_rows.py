"""Rows with a status: nobody writes one another way than by a move of its life cycle."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from blocks.domain.errors import ConcurrentUpdateError, NotFoundError
from blocks.domain.lifecycle import Lifecycle, StatusT
from blocks.registry.identity import now_us, storable
from blocks.registry.storing import changed_rows
from blocks.registry.tables import ExperimentRow, MoveRow, TrainingRow, TuningRow

RowT = TypeVar("RowT", ExperimentRow, TrainingRow, TuningRow)


class StatusRows(Generic[RowT, StatusT]):
    """The rows of one kind of resource, within one transaction."""

    row: type[RowT]
    lifecycle: ClassVar[Lifecycle[Any]]

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, id: str) -> RowT:
        """The row of an id.

        Raises:
            NotFoundError: There is none.
        """
        found = self._session.get(self.row, storable(id))
        if found is None:
            raise NotFoundError(self.lifecycle.kind, id)
        return found

    def named(self, name: str) -> RowT | None:
        """The row of a name."""
        return self._session.exec(select(self.row).where(self.row.name == name)).first()

    def begin_history(self, id: str, status: StatusT, at_us: int) -> None:
        """Write down the status that a new resource begins with."""
        self._session.add(MoveRow(resource_id=id, at_us=at_us, source="", target=status.value))

    def move(self, id: str, target: StatusT, reason: str, expected: StatusT | None) -> RowT:
        """Move the status to `target`, and write the move down; a move to the same status changes nothing.

        A reason stays with the status that it led to, and with the final one after it unless that has its own.

        Raises:
            NotFoundError: There is no such resource.
            IllegalTransitionError: The life cycle does not allow it.
            ConcurrentUpdateError: The status is not what was expected, or no longer what was read here.
        """
        row = self.find(id)
        source = type(target)(row.status)
        if expected is not None and source is not expected:
            raise ConcurrentUpdateError(self.lifecycle.kind, id, expected, source)
        return row if source is target else self.move_through(id, [target], reason)

    def move_through(self, id: str, targets: Sequence[StatusT], reason: str) -> RowT:
        """Move the status through all of these in one step; each is written down, with the same reason.

        Raises:
            NotFoundError: There is no such resource.
            IllegalTransitionError: The life cycle does not allow one of the moves.
            ConcurrentUpdateError: The status is no longer what was read here.
        """
        row, kind = self.find(id), self.lifecycle.kind
        first, at_us, reason = type(targets[0])(row.status), now_us(), storable(reason)
        changes: dict[str, Any] = {"changed_us": at_us}
        source, shown = first, row.reason
        for target in targets:
            self.lifecycle.check(id, source, target)
            shown = reason or (shown if self.rests(target) else "")
            changes |= {"status": target.value, "reason": shown, **self._also(row, target, at_us)}
            moved = MoveRow(resource_id=id, at_us=at_us, source=source.value, target=target.value, reason=reason)
            self._session.add(moved)
            source = target
        as_read = (col(self.row.id) == id, col(self.row.status) == first.value)
        if changed_rows(self._session, update(self.row).where(*as_read).values(changes)) != 1:
            self._session.refresh(row)
            raise ConcurrentUpdateError(kind, id, first, row.status)
        self._session.expire(row)  # read again only by who looks at it
        return row

    def take_up(self, id: str, status: StatusT, reason: str, *, counts: bool) -> bool:
        """Show that somebody is to see to it again; False when this is no longer its status.

        Args:
            id: The resource.
            status: As it was found.
            reason: Why, for people.
            counts: Write it down as a move to the same status, too.

        Raises:
            NotFoundError: There is no such resource.
        """
        row, at_us, reason = self.find(id), now_us(), storable(reason)
        if row.status != status:
            return False
        if counts:
            self._session.add(MoveRow(resource_id=id, at_us=at_us, source=row.status, target=row.status, reason=reason))
        else:
            row.changed_us = at_us
        row.reason = reason
        self._session.add(row)
        return True

    def note_restart(self, id: str, at_us: int, reason: str) -> None:
        """Write into the history that its workers start again; the status stays.

        Raises:
            NotFoundError: There is no such resource.
        """
        target = self.find(id).status
        self._session.add(MoveRow(resource_id=id, at_us=at_us, source="", target=target, reason=storable(reason)))

    def remove(self, row: RowT) -> None:
        """Delete the row and its history.

        Raises:
            ConcurrentUpdateError: Since it was read its status changed, or another row came to refer to it.
        """
        as_read = (col(self.row.id) == row.id, col(self.row.status) == row.status)
        try:
            removed = changed_rows(self._session, delete(self.row).where(*as_read)) == 1
        except IntegrityError as exc:
            raise ConcurrentUpdateError(self.lifecycle.kind, row.id, "unused", "used") from exc
        if not removed:
            raise ConcurrentUpdateError(self.lifecycle.kind, row.id, row.status, "something else")
        self._session.execute(delete(MoveRow).where(col(MoveRow.resource_id) == row.id))

    def rests(self, status: StatusT) -> bool:
        """Whether a resource stays in this status by itself, and so keeps the reason of the one before."""
        return self.lifecycle.is_final(status)

    def _also(self, row: RowT, target: StatusT, at_us: int) -> Mapping[str, Any]:
        """What else changes with a move."""
        return {}
