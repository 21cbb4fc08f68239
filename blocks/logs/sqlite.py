"""The log store of one machine: one file of SQLite a day, so that what is too old goes as a whole.

A file that turns out to be damaged is set aside, by whoever finds it so, and what was asked is done without it.
"""

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from blocks.domain.errors import InvalidInputError, LogStoreFullError, LogStoreUnavailableError, LogStoreUnusableError
from blocks.domain.log_records import LogRecord, LogSource
from blocks.domain.moments import to_microseconds
from blocks.logs.base import LogCursor, LogPage, LogStore, LogUsage, Reading
from blocks.logs.damage import COMPANIONS, DATABASE, DayDamagedError, damaged_files, set_aside
from blocks.logs.day_file import SEARCH_SECONDS, DayFile
from blocks.logs.query import parse_query
from blocks.logs.room import DAY_SHARE, OWNER_SHARE, Room
from blocks.logs.statements import Split, split

LONGEST_RUN = timedelta(days=366)
"""Cursors are kept for this long: a training may last a year."""

SETTLING = timedelta(minutes=1)
"""Longer than anybody waits for another writer, and than the ids of a day reach into the next one."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_POSITION = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{1,18})", re.ASCII)
_LAST_ID = 2**63 - 1

T = TypeVar("T")


class SQLiteLogStore(LogStore):
    """Keeps lines in files below one directory, which many processes may share.

    Args:
        directory: Made by the first line that is kept.
        now: The time by which days begin and end, UTC.
        most_bytes: The bound to which the store is brought back by removing what `expired` tells. One day takes a part
            of it, `room.DAY_SHARE`, and one training a part of the day.

    Attributes:
        directory: As given.
    """

    def __init__(
        self,
        directory: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        most_bytes: int = sys.maxsize,
    ) -> None:
        self.directory = directory
        self._now = now
        self._day_bytes = most_bytes // DAY_SHARE
        self._lock = threading.Lock()
        self._current: DayFile | None = None

    def cursors(self, prefix: str) -> Mapping[str, LogCursor]:
        """As promised."""
        return self._without_damage(lambda: self._cursors(prefix))

    def append(self, source: LogSource, reading: Reading) -> None:
        """As promised. A commit survives the end of every process; the last ones may go with the machine's power."""
        with self._lock:
            try:
                self._without_damage(lambda: self._append(source, reading))
            except LogStoreFullError:
                raise
            except LogStoreUnusableError:
                self._close_current()  # once it is mended, it has to be opened anew
                raise

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
        parts, before = split(parse_query(query), low, high), _position(cursor) if cursor else None
        found = self._without_damage(lambda: self._found(parts, limit + 1, before))
        records = tuple(found[:limit])
        damaged = tuple(file.name for day, file in damaged_files(self.directory) if _may_hold(day, parts))
        return LogPage(records, records[-1].position if len(found) > limit else "", damaged)

    def tail(self, after: str, limit: int) -> Sequence[LogRecord]:
        """As promised; a day that was removed is left out.

        Somebody may still be writing to the day before in the first minute of a new one, which therefore comes later.
        """
        day, id = _position(after) if after else ("", 0)
        settled = max((self._now() - SETTLING).date().isoformat(), day)
        return self._without_damage(lambda: self._tail(day, id, settled, limit))

    def expired(self, keep_days: int, keep_bytes: int) -> list[str]:
        """As promised."""
        today = self._now().date()
        first = (today - timedelta(days=keep_days)).isoformat()
        sizes = self._sizes()
        found = []
        for day in sorted(sizes):
            if day < today.isoformat() and (day < first or sum(sizes.values()) > keep_bytes):
                del sizes[day]
                found.append(day)
        return found

    def remove(self, day: str) -> None:
        """As promised: the cursors go to the day behind it, where newer ones stand."""
        self._without_damage(lambda: self._hand_on_cursors(day))
        for file in [self._path(day), *(file for other, file in damaged_files(self.directory) if other == day)]:
            for part in _parts(file):
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink(missing_ok=True)

    def usage(self) -> LogUsage:
        """As promised."""
        records = self._without_damage(lambda: sum(file.count() for file in self._opened(self._days())))
        days, size = self._days(), sum(self._sizes().values())
        damaged = tuple(file.name for _, file in damaged_files(self.directory))
        return LogUsage(records, size, days[-1] if days else "", days[0] if days else "", damaged)

    def room(self) -> Room:
        """How much of today is taken, and for whom there is no more room."""
        return self._without_damage(self._room_today)

    def close(self) -> None:
        """As promised."""
        with self._lock:
            self._close_current()

    def _without_damage(self, act: Callable[[], T]) -> T:
        """Do it; when a file turns out to be damaged, set that aside and do it anew.

        Raises:
            DayDamagedError: A file cannot be set aside, or even new ones are damaged.
        """
        for _ in range(len(self._days()) + 1):
            try:
                return act()
            except DayDamagedError as error:
                set_aside(error)
        return act()

    def _cursors(self, prefix: str) -> dict[str, LogCursor]:
        found: dict[str, LogCursor] = {}
        for file in self._opened(reversed(self._days())):
            found |= file.cursors(prefix)
        return found

    def _append(self, source: LogSource, reading: Reading) -> None:
        now = self._now()
        file = self._writable(now)
        if not reading.by_platform:
            self._room(file).check(source)
        file.append(source, reading, to_microseconds(now), self._opened(day for day in self._days() if day < file.day))

    def _found(self, parts: Split, limit: int, before: tuple[str, int] | None) -> list[LogRecord]:
        last, id = before or ("9999-12-31", _LAST_ID)
        give_up = time.monotonic() + SEARCH_SECONDS
        found: list[LogRecord] = []
        for file in self._opened(day for day in self._days() if day <= last and _may_hold(day, parts)):
            asked = replace(parts, high=min(parts.high, id)) if file.day == last else parts
            found += file.search(asked, limit - len(found), give_up)
            if len(found) == limit:
                break
        return found

    def _tail(self, day: str, id: int, settled: str, limit: int) -> list[LogRecord]:
        found: list[LogRecord] = []
        for file in self._opened(other for other in reversed(self._days()) if day <= other <= settled):
            found += file.tail(id if file.day == day else 0, limit - len(found))
            if len(found) == limit:
                break
        return found

    def _hand_on_cursors(self, day: str) -> None:
        now = self._now()
        behind = min((other for other in self._days() if other > day), default=now.date().isoformat())
        with (
            suppress(FileNotFoundError),
            DayFile(self._path(day), create=False) as old,
            DayFile(self._path(behind), create=True) as heir,
        ):
            heir.take_cursors(old, to_microseconds(now - LONGEST_RUN))

    def _writable(self, now: datetime) -> DayFile:
        """Today's file, kept open: the last one to close it has to write all of its log back."""
        day = now.date().isoformat()
        if self._current is None or self._current.day != day or not self._current.is_at_its_place:
            self._close_current()
            try:
                self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise LogStoreUnavailableError(str(self.directory), f"it cannot be made: {error.strerror}") from error
            self._current = DayFile(self._path(day), create=True)
        return self._current

    def _room_today(self) -> Room:
        day = self._now().date().isoformat()
        for file in self._opened([day]):
            return self._room(file)
        return Room(day, self._day_bytes, 0)

    def _room(self, file: DayFile) -> Room:
        taken = _size(file.file)
        may_be_short = taken * OWNER_SHARE >= self._day_bytes
        return Room(file.day, self._day_bytes, taken, file.owners() if may_be_short else ())

    def _close_current(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def _opened(self, days: Iterable[str]) -> Iterator[DayFile]:
        """Each day's file, opened for as long as the caller looks at it."""
        for day in days:
            with suppress(FileNotFoundError), DayFile(self._path(day), create=False) as file:  # removed meanwhile
                yield file

    def _days(self) -> list[str]:
        """The days that there are, the newest first."""
        found = (file.stem for file in self.directory.glob(f"*{DATABASE}"))
        return sorted((day for day in found if _DAY.fullmatch(day)), reverse=True)

    def _path(self, day: str) -> Path:
        return self.directory / f"{day}{DATABASE}"

    def _sizes(self) -> dict[str, int]:
        """Bytes of each day, with those that were set aside."""
        sizes = {day: _size(self._path(day)) for day in self._days()}
        for day, file in damaged_files(self.directory):
            sizes[day] = sizes.get(day, 0) + _size(file)
        return sizes


def _may_hold(day: str, parts: Split) -> bool:
    """Whether lines of the times that are asked for can be in the file of this day."""
    try:
        first = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:  # 2026-02-30 is no day of ours
        return False
    begins = to_microseconds(first)
    return begins < parts.high and parts.low < begins + (timedelta(days=1) + SETTLING) // timedelta(microseconds=1)


def _position(text: str) -> tuple[str, int]:
    found = _POSITION.fullmatch(text)
    if not found:
        raise InvalidInputError(f"--cursor {text[:80]!r}", "it is none that a search has given", "Leave it out.")
    return found[1], int(found[2])


def _parts(file: Path) -> list[Path]:
    """A day's files in the order in which they are removed: until the last one has gone, the day is found."""
    return [Path(f"{file}{companion}") for companion in (*reversed(COMPANIONS), "")]


def _size(file: Path) -> int:
    size = 0
    for part in _parts(file):
        with suppress(FileNotFoundError):
            size += part.stat().st_size
    return size
