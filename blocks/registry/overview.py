"""What upkeep asks: all that is under way, what is known of runs that were found, and what was taken up again."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from blocks.domain.lifecycle import TUNING_UNDER_WAY, UNDER_WAY, TrainingStatus, TuningStatus
from blocks.domain.moments import from_microseconds, to_microseconds
from blocks.registry.reading import Reader, Row
from blocks.registry.records import Standing, UnderWay
from blocks.registry.sessions import Sessions

CHUNK = 500
"""Ids that one statement asks for: far below what either database takes as parameters."""

_MOVED = "(SELECT max(r.id) FROM status_move r WHERE r.resource_id = t.id AND r.source <> r.target)"
_SEEN = {
    "training": "t.seen_us",
    "tuning": "(SELECT max(s.seen_us) FROM training s WHERE s.tuning_id = t.id)",
}
"""When workers of it were last seen running."""
_TAKEN_UP = (
    f"FROM status_move m WHERE m.resource_id = t.id AND m.source = m.target AND m.at_us >= :since AND m.id > {_MOVED}"
)


def _under_way_of(kind: str, statuses: Iterable[str], only: str = "") -> str:
    listed = ", ".join(f"'{status}'" for status in sorted(statuses))
    return (
        "SELECT t.id, t.name, t.status, t.changed_us, d.planned_us, "  # noqa: S608 - constants of this module
        f"(SELECT count(*) {_TAKEN_UP} AND m.at_us > coalesce({_SEEN[kind]}, 0)) AS attempts, "
        f"(SELECT max(m.at_us) {_TAKEN_UP}) AS attempted_us "
        f"FROM {kind} t JOIN {kind}_document d ON d.{kind}_id = t.id "
        f"WHERE t.status IN ({listed}) {only} ORDER BY t.created_us, t.id"
    )


_TRAININGS = _under_way_of("training", UNDER_WAY, "AND t.tuning_id IS NULL")  # a trial is followed with its tuning
_TUNINGS = _under_way_of("tuning", TUNING_UNDER_WAY)
_STANDING = (
    "SELECT t.id, t.name, t.status, d.logs_uploaded, u.status AS tuning_status "
    "FROM training t JOIN training_document d ON d.training_id = t.id LEFT JOIN tuning u ON u.id = t.tuning_id "
    "WHERE t.id IN ({ids})"
)
_NAMES = (
    "SELECT name FROM training WHERE experiment_id = :experiment AND tuning_id IS NULL "
    "UNION ALL SELECT 'tuning ' || name FROM tuning WHERE experiment_id = :experiment"
)


class Overview:
    """The trainings and tunings of a registry, as upkeep looks at them."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def under_way(self, since: datetime) -> list[UnderWay]:
        """Every training that is under way, the oldest first; found by status, however many are over.

        Args:
            since: Taking up again counts from then on.
        """
        found = self._reader.rows(_TRAININGS, since=to_microseconds(since))
        return [_under_way(row, TrainingStatus(row["status"])) for row in found]

    def tunings_under_way(self, since: datetime) -> list[UnderWay]:
        """Every tuning that is under way, the oldest first; `since` as for trainings."""
        found = self._reader.rows(_TUNINGS, since=to_microseconds(since))
        return [_under_way(row, TuningStatus(row["status"])) for row in found]

    def standing(self, ids: Collection[str]) -> dict[str, Standing]:
        """What is known of these trainings; one that is not in it does not exist."""
        rows = (row for some in _chunks(sorted(ids)) for row in self._standing(some))
        return {row["id"]: _standing(row) for row in rows}

    def event_names_in(self, experiment_id: str) -> set[str]:
        """What the directories of events are called of all trainings and tunings of an experiment."""
        return {row["name"] for row in self._reader.rows(_NAMES, experiment=experiment_id)}

    def take_up(self, row: UnderWay, reason: str, *, counts: bool = True) -> bool:
        """Say that somebody is to follow it again; False when it moved meanwhile.

        Args:
            row: The training or tuning, as it was found.
            reason: Why, for people.
            counts: Write it into the history, too, as one of its attempts.

        Raises:
            NotFoundError: It was deleted meanwhile.
        """
        with self._sessions.begin() as write:
            if isinstance(row.status, TuningStatus):
                return write.tunings.take_up(row.id, row.status, reason, counts=counts)
            return write.trainings.take_up(row.id, row.status, reason, counts=counts)

    def _standing(self, ids: list[str]) -> list[Row]:
        names = {f"id_{number}": id for number, id in enumerate(ids)}
        return self._reader.rows(_STANDING.format(ids=", ".join(f":{name}" for name in names)), **names)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _under_way(row: Row, status: TrainingStatus | TuningStatus) -> UnderWay:
    moments = (row[name] for name in ("changed_us", "planned_us", "attempted_us"))
    return UnderWay(
        id=row["id"],
        name=row["name"],
        status=status,
        attempts=row["attempts"],
        stirred=from_microseconds(max(moment for moment in moments if moment is not None)),
    )


def _standing(row: Row) -> Standing:
    return Standing(**{name: row[name] for name in ("name", "status", "logs_uploaded", "tuning_status")})
