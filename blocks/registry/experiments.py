"""Experiments: groups of trainings that belong together."""

from typing import Any

from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import ExperimentStatus
from blocks.domain.moments import from_microseconds
from blocks.domain.specs import ExperimentSpec
from blocks.registry.identity import check_id, new_id
from blocks.registry.listing import Listing, list_page
from blocks.registry.reading import Reader, Row, Rows, history_of
from blocks.registry.records import ALL, Experiment, Move, Page, Query
from blocks.registry.sessions import Sessions

PREFIX = "exp"
_COLUMNS = "t.id, t.name, t.description, t.status, t.reason, t.created_us, t.changed_us"
_LISTING = Listing("experiment", _COLUMNS, "experiment t", ExperimentStatus)
# An id comes before a name, should anybody give a name that is another's id.
_ONE = f"SELECT {_COLUMNS} FROM experiment t WHERE t.id = :key OR t.name = :key ORDER BY t.id <> :key LIMIT 1"  # noqa: S608 - constants of this module


class Experiments:
    """The experiments of a registry. Each call is one short transaction."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def create(self, spec: ExperimentSpec, *, id: str | None = None) -> Experiment:
        """Make it, CREATE REQUESTED; with the same id and name a second time, find it.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidInputError: The id has not the form of one.
        """
        id = check_id(id or new_id(PREFIX), PREFIX)
        with self._sessions.begin() as write:
            write.experiments.create(spec, id)
            return _find(write, id)

    def ensure(self, spec: ExperimentSpec) -> Experiment:
        """The experiment of this name, whatever its status; made and ACTIVE when there was none."""
        try:
            return self.get(spec.name)
        except NotFoundError:
            pass
        with self._sessions.begin() as write:
            return _find(write, write.experiments.ensure(spec, new_id(PREFIX)))

    def get(self, key: str) -> Experiment:
        """The experiment of an id or a name.

        Raises:
            NotFoundError: There is none.
        """
        return _find(self._reader, key)

    def page(self, query: Query = ALL) -> Page[Experiment]:
        """A page of the list.

        Raises:
            InvalidInputError: The query has a filter, an order or a cursor that this list has not.
        """
        return list_page(_LISTING, query, self._reader, _record)

    def move(
        self, id: str, to: ExperimentStatus, reason: str = "", *, expected: ExperimentStatus | None = None
    ) -> Experiment:
        """Move its status; a move to the status that it has changes nothing.

        Args:
            id: The experiment.
            to: Where to.
            reason: Kept with the move and shown with the experiment.
            expected: Refuse unless this is its status now.

        Raises:
            NotFoundError: There is no such experiment.
            IllegalTransitionError: The life cycle does not allow the move.
            ConcurrentUpdateError: Somebody else has moved it.
        """
        with self._sessions.begin() as write:
            write.experiments.move(id, to, reason, expected)
            return _find(write, id)

    def change(self, id: str, *, description: str) -> Experiment:
        """Write another description.

        Raises:
            NotFoundError: There is no such experiment.
        """
        with self._sessions.begin() as write:
            write.experiments.change(id, description)
            return _find(write, id)

    def history(self, id: str) -> list[Move]:
        """Every move of its status, oldest first."""
        return history_of(self._reader, id)

    def guard_delete(self, id: str) -> None:
        """Raise what `delete` would raise, and delete nothing."""
        with self._sessions.begin() as write:
            write.experiments.guard_delete(id)

    def delete(self, id: str) -> None:
        """Delete it and its history.

        Raises:
            NotFoundError: There is no such experiment.
            BusyError: It is being created.
            InUseError: Trainings belong to it; they are named.
        """
        with self._sessions.begin() as write:
            write.experiments.delete(id)


def _find(rows: Rows, key: str) -> Experiment:
    found = rows.rows(_ONE, key=key)
    if not found:
        raise NotFoundError("experiment", key)
    return _record(found[0])


def _record(row: Row) -> Experiment:
    values: dict[str, Any] = dict(row)
    return Experiment(
        created=from_microseconds(values.pop("created_us")),
        changed=from_microseconds(values.pop("changed_us")),
        **values,
    )
