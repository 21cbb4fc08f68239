"""One day of the log store: a file of SQLite with a full-text index.

A line's id is the microsecond in which it was kept, or the next free one: ids are unique, ascend in the order in which
lines were kept, and are the time at once. What all lines of one source and level share is stored once, as a stream.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks.domain.errors import (
    ConcurrentUpdateError,
    InvalidInputError,
    LogStoreUnavailableError,
    LogStoreUnusableError,
    MakerflowError,
)
from blocks.domain.log_records import LogEntry, LogLevel, LogRecord, LogSource
from blocks.domain.moments import from_microseconds
from blocks.locks import locked
from blocks.logs.base import BEGINNING, LogCursor, Reading
from blocks.logs.damage import MAKING, DayDamagedError, identity_of
from blocks.logs.room import Owner
from blocks.logs.schema import (
    ADD_BYTES,
    HAS_BYTES,
    ITS_FIELDS,
    KEEP_CURSOR,
    MORE_LINES,
    NEW_STREAM,
    OWNERS,
    SCHEMA,
    SIZE,
    THE_STREAM,
    VERSION,
)
from blocks.logs.statements import STREAM_FIELDS, Split, Sql, chosen_streams, newest

BUSY_SECONDS = 30.0
SEARCH_SECONDS = 30.0
NUL_SHOWN = "\N{SYMBOL FOR NULL}"
"""For the one character that SQLite's JSON cannot hold."""

_INSTRUCTIONS = 20_000
"""Of SQLite's machine, between two looks at the clock: some milliseconds."""

_LINE_BYTES = 32
"""What a line takes beside its text, about."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}


class DayFile:
    """An open file. For one thread at a time; close it.

    Args:
        file: Its name, without the ending, is the day.
        create: Make it when it is not there.

    Raises:
        FileNotFoundError: It is not there.
        DayDamagedError: It is damaged; so does every method.
        LogStoreUnusableError: It cannot be used for another reason: a newer program made it, or nobody may read it.
    """

    def __init__(self, file: Path, *, create: bool) -> None:
        self.file = file
        self.day = file.stem
        self._identity = identity_of(file)
        if not create and self._identity is None:
            raise FileNotFoundError(file)
        with self._explained():
            self._connection = sqlite3.connect(
                file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._prepare(create)
        except BaseException:
            self._connection.close()
            raise
        self._identity = self._identity or identity_of(file)

    @property
    def is_at_its_place(self) -> bool:
        """Whether it is still the one by its name: somebody may have removed it, or set it aside."""
        return self._identity is not None and identity_of(self.file) == self._identity

    def __enter__(self) -> "DayFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def append(self, source: LogSource, reading: Reading, now_us: int, earlier: Iterable["DayFile"]) -> None:
        """Keep entries and their cursor in one transaction.

        Args:
            source: Where the entries come from.
            reading: The entries and the step of the cursor.
            now_us: When they are kept; on this file's day.
            earlier: Files of earlier days, the newest first, in case that this one has no cursor of the key yet.

        Raises:
            ConcurrentUpdateError: The cursor is not where the reading began.
        """
        with self._explained(), self._transaction():
            known = self._known_cursor(reading, earlier)
            if known != reading.since:
                raise ConcurrentUpdateError("log cursor", reading.key, f"{reading.since}", f"{known}")
            if reading.entries:
                self._insert(source, reading, max(now_us, self._last_id() + 1))
            cursor = reading.until
            self._connection.execute(KEEP_CURSOR, (reading.key, cursor.offset, cursor.state, now_us))

    def cursors(self, prefix: str) -> dict[str, LogCursor]:
        """The cursors of keys with this prefix."""
        # By the first half the index begins at the right place.
        having = "SELECT key, offset, state FROM cursors WHERE key >= ? AND substr(key, 1, ?) = ?"
        rows = self._rows(Sql(having, (prefix, len(prefix), prefix)))
        return {key: LogCursor(offset, state) for key, offset, state in rows}

    def cursor(self, key: str) -> LogCursor | None:
        """The cursor of one key."""
        rows = self._rows(Sql("SELECT offset, state FROM cursors WHERE key = ?", (key,)))
        return LogCursor(*rows[0]) if rows else None

    def take_cursors(self, older: "DayFile", since_us: int) -> None:
        """Keep the cursors of a file that is to be removed, unless they are older than that or known here."""
        rows = older._rows(Sql("SELECT key, offset, state, kept_us FROM cursors WHERE kept_us >= ?", (since_us,)))
        with self._explained(), self._transaction():
            self._connection.executemany(KEEP_CURSOR.replace("REPLACE", "IGNORE"), rows)

    def search(self, parts: Split, limit: int, until: float) -> list[LogRecord]:
        """The newest records that match, the newest first.

        Args:
            parts: What is asked for.
            limit: How many.
            until: Of the monotonic clock: when to give up.

        Raises:
            InvalidInputError: It was given up.
        """
        with self._given_up_after(until):
            streams = dict(self._rows(chosen_streams(parts)))
            if not sum(streams.values()):
                return []
            found = self._rows(newest(parts, streams, self.count(), limit))
        return self._records(found)

    def tail(self, after: int, limit: int) -> list[LogRecord]:
        """The records behind an id, the oldest first."""
        return self._records(
            self._rows(Sql("SELECT id, stream, body FROM lines WHERE id > ? ORDER BY id LIMIT ?", (after, limit)))
        )

    def owners(self) -> list[Owner]:
        """Whose lines it holds, those that take most of it first."""
        rows = self._rows(Sql(OWNERS if self._has_bytes() else OWNERS.replace("sum(bytes)", "sum(lines)")))
        [(size,)] = self._rows(Sql(SIZE))
        scale = size / (sum(text for *_, text in rows) or 1)
        # A trial is named by its tuning and its number: digits-tuning/5.
        return [Owner(id, name.partition("/")[0] or id, text * scale) for id, name, text in rows]

    def count(self) -> int:
        """How many records it holds."""
        return int(self._rows(Sql("SELECT coalesce(sum(lines), 0) FROM streams"))[0][0])

    def _prepare(self, create: bool) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise LogStoreUnusableError(str(self.file), "a newer program made it", "Update this one.")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            with locked(self.file.with_name(MAKING)):  # nobody may look on while a file becomes a write-ahead one
                self._make()
        if create and not self._has_bytes():
            with self._transaction():
                if not self._has_bytes():
                    self._execute(ADD_BYTES)

    def _make(self) -> None:
        if self._connection.execute("PRAGMA user_version").fetchone()[0]:
            return
        self._connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            self._execute(SCHEMA)

    def _has_bytes(self) -> bool:
        return bool(self._rows(Sql(HAS_BYTES)))

    def _execute(self, script: str) -> None:
        for statement in filter(str.strip, script.split(";")):
            self._connection.execute(statement)

    def _known_cursor(self, reading: Reading, earlier: Iterable["DayFile"]) -> LogCursor:
        found = self.cursor(reading.key)
        if found is not None or reading.since.offset == 0:
            return found or BEGINNING
        return next((known for file in earlier if (known := file.cursor(reading.key))), BEGINNING)

    def _insert(self, source: LogSource, reading: Reading, first: int) -> None:
        """By few large statements, during which other threads run: one a line would hold them up."""
        places: dict[LogLevel, list[int]] = {level: [] for level in LogLevel}
        for place, entry in enumerate(reading.entries):
            places[entry.level].append(place)
        usual = max(places, key=lambda level: len(places[level]))
        bodies = json.dumps([entry.body.replace("\0", NUL_SHOWN) for entry in reading.entries], ensure_ascii=False)
        self._connection.execute(
            "INSERT INTO lines SELECT ? + key, ?, value FROM json_each(?)",
            (first, self._stream(source, usual, reading.entries), bodies.encode(errors="replace").decode()),
        )
        for level, found in places.items():
            if found and level is not usual:
                self._connection.execute(
                    "UPDATE lines SET stream = ? WHERE id IN (SELECT ? + value FROM json_each(?))",
                    (self._stream(source, level, reading.entries), first, json.dumps(found)),
                )
        self._connection.execute("INSERT INTO words (rowid, body) SELECT id, body FROM lines WHERE id >= ?", (first,))

    def _stream(self, source: LogSource, level: LogLevel, entries: Sequence[LogEntry]) -> int:
        """The id of a stream that gets those of the entries that are of its level."""
        sizes = [len(entry.body.encode(errors="replace")) for entry in entries if entry.level is level]
        values = (level.value, *source.values())
        self._connection.execute(NEW_STREAM, values)
        id = int(self._connection.execute(THE_STREAM, values).fetchone()[0])
        self._connection.execute(MORE_LINES, (len(sizes), sum(sizes) + _LINE_BYTES * len(sizes), id))
        return id

    def _last_id(self) -> int:
        return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM lines").fetchone()[0])

    def _records(self, rows: Sequence[tuple[int, int, str]]) -> list[LogRecord]:
        streams = {id: self._fields(id) for id in {row[1] for row in rows}}
        found = []
        for id, stream, body in rows:
            level, fields = streams[stream]
            found.append(LogRecord(f"{self.day}/{id}", from_microseconds(id), level, body, fields))
        return found

    def _fields(self, stream: int) -> tuple[LogLevel, Mapping[str, str]]:
        level, *values = self._rows(Sql(ITS_FIELDS, (stream,)))[0]
        return LogLevel(level), {name: value for name, value in zip(STREAM_FIELDS[1:], values, strict=True) if value}

    def _rows(self, sql: Sql) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(sql.text, sql.parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _given_up_after(self, until: float) -> Iterator[None]:
        """No search may hold the machine for long."""
        self._connection.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._meaning(error) from error

    def _meaning(self, error: sqlite3.Error) -> MakerflowError:
        """By the primary part of SQLite's own code."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary == sqlite3.SQLITE_INTERRUPT:
            why = f"searching took longer than {SEARCH_SECONDS:g} s"
            return InvalidInputError("The query", why, "Name a trainingId or a logLevel, or a shorter time.")
        if primary == sqlite3.SQLITE_FULL:
            return LogStoreUnavailableError(str(self.file), "the disk is full, so free some space there")
        if primary in _PASSING:
            return LogStoreUnavailableError(str(self.file), str(error))
        if primary in _DAMAGE:
            return DayDamagedError(self.file, self._identity, str(error))
        if self.file.is_dir():
            return DayDamagedError(self.file, self._identity, "it is a directory")
        remedy = (
            "Make it, its -wal and -shm, and its directory readable and writable; logs are at the output paths too."
        )
        return LogStoreUnusableError(f"file {self.file}", str(error), remedy)
