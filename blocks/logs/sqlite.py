"""The log store of one machine: one file of SQLite a day, so that what is too old goes as a whole."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blocks.domain.errors import InvalidInputError, LogStoreUnavailableError
from blocks.domain.log_records import LogRecord, LogSource, to_microseconds
from blocks.logs.base import LogCursor, LogPage, LogStore, LogUsage, Reading
from blocks.logs.conditions import Condition
from blocks.logs.day_file import SEARCH_SECONDS, DayFile
from blocks.logs.query import parse_query
from blocks.logs.statements import split

LONGEST_RUN = timedelta(days=366)
"""Cursors are kept for this long: a training may last a year."""

SETTLING = timedelta(minutes=1)
"""Longer than anybody waits for another writer."""

_SUFFIX = ".db"
_COMPANIONS = ("", "-wal", "-shm")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_POSITION = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{1,18})", re.ASCII)
_LAST_ID = 2**63 - 1


class SQLiteLogStore(LogStore):
    """Keeps lines in files below one directory, which many processes may share.

    Args:
        directory: Made by the first line that is kept.
        now: The time by which days begin and end, UTC.
    """

    def __init__(self, directory: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._current: DayFile | None = None

    def cursors(self, prefix: str) -> Mapping[str, LogCursor]:
        """As promised."""
        found: dict[str, LogCursor] = {}
        for file in self._opened(newest_first=False):
            found |= file.cursors(prefix)
        return found

    def append(self, source: LogSource, reading: Reading) -> None:
        """As promised. A commit survives the end of every process; the last ones may go with the machine's power."""
        with self._lock:
            file = self._writable()
            file.append(source, reading, (older for older in self._opened() if older.day < file.day))

    def search(
        self,
        query: str,
        *,
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str = "",
    ) -> LogPage:
        """As promised. A search that takes longer than `SEARCH_SECONDS` is refused."""
        low = to_microseconds(since) if since else 0
        high = to_microseconds(until) if until else _LAST_ID
        found = self._found(parse_query(query), low, high, limit + 1, _position(cursor) if cursor else None)
        records = tuple(found[:limit])
        return LogPage(records, records[-1].position if len(found) > limit else "")

    def tail(self, after: str, limit: int) -> Sequence[LogRecord]:
        """As promised; a day that was removed is left out.

        Somebody may still be writing to the day before in the first minute of a new one, which therefore comes later.
        """
        day, id = _position(after) if after else ("", 0)
        settled = (self._now() - SETTLING).date().isoformat()
        found: list[LogRecord] = []
        for file in self._opened(newest_first=False):
            if day <= file.day <= max(settled, day) and len(found) < limit:
                found += file.tail(id if file.day == day else 0, limit - len(found))
        return found

    def expired(self, keep_days: int, keep_bytes: int) -> list[str]:
        """As promised."""
        today = self._now().date()
        first = (today - timedelta(days=keep_days)).isoformat()
        sizes = {day: _size(self._path(day)) for day in self._days()}
        found = []
        for day in sorted(sizes):
            if day < today.isoformat() and (day < first or sum(sizes.values()) > keep_bytes):
                del sizes[day]
                found.append(day)
        return found

    def remove(self, day: str) -> None:
        """As promised: the cursors go to the day behind it, where newer ones stand."""
        since = to_microseconds(datetime.now(UTC) - LONGEST_RUN)
        behind = min((other for other in self._days() if other > day), default=self._now().date().isoformat())
        with (
            suppress(FileNotFoundError),
            DayFile(self._path(day), create=False) as old,
            DayFile(self._path(behind), create=True) as heir,
        ):
            heir.take_cursors(old, since)
        for companion in _COMPANIONS:
            Path(f"{self._path(day)}{companion}").unlink(missing_ok=True)

    def usage(self) -> LogUsage:
        """As promised."""
        days = self._days()
        size = sum(_size(self._path(day)) for day in days)
        records = sum(file.count() for file in self._opened())
        return LogUsage(records, size, days[-1], days[0]) if days else LogUsage(0, 0)

    def close(self) -> None:
        """As promised."""
        with self._lock:
            self._close_current()

    def _found(
        self, condition: Condition, low: int, high: int, limit: int, before: tuple[str, int] | None
    ) -> list[LogRecord]:
        day, id = before or ("9999-12-31", _LAST_ID)
        give_up = time.monotonic() + SEARCH_SECONDS
        found: list[LogRecord] = []
        for file in self._opened():
            if len(found) == limit:
                break
            if file.day <= day:
                parts = split(condition, low, min(high, id) if file.day == day else high)
                found += file.search(parts, limit - len(found), give_up)
        return found

    def _writable(self) -> DayFile:
        """Today's file, kept open: the last one to close it has to write all of its log back."""
        day = self._now().date().isoformat()
        if self._current is None or self._current.day != day or not self._current.file.exists():
            self._close_current()
            try:
                self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise LogStoreUnavailableError(str(self._directory), f"it cannot be made: {error.strerror}") from error
            self._current = DayFile(self._path(day), create=True)
        return self._current

    def _close_current(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def _opened(self, *, newest_first: bool = True) -> Iterator[DayFile]:
        """Each day's file, opened for as long as the caller looks at it."""
        for day in self._days() if newest_first else reversed(self._days()):
            with suppress(FileNotFoundError), DayFile(self._path(day), create=False) as file:  # removed meanwhile
                yield file

    def _days(self) -> list[str]:
        """The days that there are, the newest first."""
        found = (file.stem for file in self._directory.glob(f"*{_SUFFIX}"))
        return sorted((day for day in found if _DAY.fullmatch(day)), reverse=True)

    def _path(self, day: str) -> Path:
        return self._directory / f"{day}{_SUFFIX}"


def _position(text: str) -> tuple[str, int]:
    found = _POSITION.fullmatch(text)
    if not found:
        raise InvalidInputError(f"--cursor {text[:80]!r}", "it is none that a search has given", "Leave it out.")
    return found[1], int(found[2])


def _size(file: Path) -> int:
    size = 0
    for companion in _COMPANIONS:
        with suppress(FileNotFoundError):
            size += Path(f"{file}{companion}").stat().st_size
    return size
