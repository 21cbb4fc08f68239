"""What upkeep asks: all that is under way, what is known of runs that were found, and what was taken up again."""

from collections.abc import Collection, Iterator
from datetime import datetime

from blocks.domain.lifecycle import UNDER_WAY
from blocks.domain.moments import from_microseconds, to_microseconds
from blocks.registry.reading import Reader, Row
from blocks.registry.records import Standing, UnderWay
from blocks.registry.sessions import Sessions

CHUNK = 500
"""Ids that one statement asks for: far below what either database takes as parameters."""

_STATUSES = ", ".join(f"'{status}'" for status in sorted(UNDER_WAY))
_MOVED = "(SELECT max(r.id) FROM status_move r WHERE r.resource_id = t.id AND r.source <> r.target)"
_TAKEN_UP = (
    f"FROM status_move m WHERE m.resource_id = t.id AND m.source = m.target AND m.at_us >= :since AND m.id > {_MOVED}"
)
_UNDER_WAY = (
    "SELECT t.id, t.name, t.status, t.changed_us, d.planned_us, "  # noqa: S608 - constants of this module
    f"(SELECT count(*) {_TAKEN_UP}) AS attempts, "
    f"(SELECT max(m.at_us) {_TAKEN_UP}) AS attempted_us "
    "FROM training t JOIN training_document d ON d.training_id = t.id "
    # A trial is followed with its tuning.
    f"WHERE t.status IN ({_STATUSES}) AND t.tuning_id IS NULL ORDER BY t.created_us, t.id"
)
_STANDING = (
    "SELECT t.id, t.name, t.status, d.logs_uploaded "
    "FROM training t JOIN training_document d ON d.training_id = t.id WHERE t.id IN ({ids})"
)
_NAMES = "SELECT name FROM training WHERE experiment_id = :experiment"


class Overview:
    """The trainings of a registry, as upkeep looks at them."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def under_way(self, since: datetime) -> list[UnderWay]:
        """Every training that is under way, the oldest first; found by status, however many are over.

        Args:
            since: Taking up again counts from then on.
        """
        return [_under_way(row) for row in self._reader.rows(_UNDER_WAY, since=to_microseconds(since))]

    def standing(self, ids: Collection[str]) -> dict[str, Standing]:
        """What is known of these trainings; one that is not in it does not exist."""
        rows = (row for some in _chunks(sorted(ids)) for row in self._standing(some))
        return {row["id"]: _standing(row) for row in rows}

    def names_in(self, experiment_id: str) -> set[str]:
        """The names of all trainings of an experiment."""
        return {row["name"] for row in self._reader.rows(_NAMES, experiment=experiment_id)}

    def take_up(self, row: UnderWay, reason: str) -> bool:
        """Write into the history of a training that somebody is to follow it again; False when it moved meanwhile.

        Raises:
            NotFoundError: It was deleted meanwhile.
        """
        with self._sessions.begin() as write:
            return write.trainings.take_up(row.id, row.status, reason)

    def _standing(self, ids: list[str]) -> list[Row]:
        names = {f"id_{number}": id for number, id in enumerate(ids)}
        return self._reader.rows(_STANDING.format(ids=", ".join(f":{name}" for name in names)), **names)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _under_way(row: Row) -> UnderWay:
    moments = (row[name] for name in ("changed_us", "planned_us", "attempted_us"))
    return UnderWay(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        attempts=row["attempts"],
        stirred=from_microseconds(max(moment for moment in moments if moment is not None)),
    )


def _standing(row: Row) -> Standing:
    return Standing(name=row["name"], status=row["status"], logs_uploaded=row["logs_uploaded"])
