"""What the cache knows of its files: kept in SQLite, so that many processes share it."""

import os
import sqlite3
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_BUSY_SECONDS = 60
_VARIABLES = 500
_WINDOWS_KEPT = 2000
_SCANNED_SHARE = 3
"""One pass over the table takes a third of the time of a look-up for each of its rows."""

_CHECKPOINT_PAGES = 10_000
_GATHERED_BYTES = 1 << 20
"""What whoever opens the database next reads in a millisecond, should the last one not have written it to its place."""

_NEVER = -1
_ENDLESS = 1 << 63

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS link_windows (began_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_inode ON objects (inode);
"""

_DROP_OLD_WINDOWS = "DELETE FROM link_windows WHERE rowid <= (SELECT max(rowid) - ? FROM link_windows)"
_COLUMNS = "SELECT id, address, digest, size, inode, mtime_ns, ctime_ns FROM objects"


_left_open: list[sqlite3.Connection] = []


class Known(NamedTuple):
    """One file of the cache, as its inode was when its bytes were last known to be right."""

    id: int
    address: str
    digest: str
    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int


class LinkWindows:
    """The times in which nothing but this product's own linking and unlinking changed the ctime of cached files.

    Each is without its beginning and with its end: both are moments that were over before anything else happened.
    """

    def __init__(self, windows: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(windows)
        self._began = [began for began, _ in ordered]
        self._ended = [ended for _, ended in ordered]

    def explain(self, ctime_ns: int) -> bool:
        """Whether a file's ctime is of such a time."""
        before = bisect_left(self._began, ctime_ns)
        return before > 0 and ctime_ns <= self._ended[before - 1]

    def trust(self, known: Known, status: os.stat_result, began_ns: int = _ENDLESS) -> bool:
        """Whether nobody else has touched the file since it was known to be right.

        Args:
            known: What is known of it.
            status: Its inode now.
            began_ns: When the linking began that goes on now.
        """
        return (
            status.st_mtime_ns == known.mtime_ns
            and status.st_size == known.size
            and status.st_ino == known.inode
            and (
                status.st_ctime_ns == known.ctime_ns
                or status.st_ctime_ns > began_ns
                or self.explain(status.st_ctime_ns)
            )
        )


class CacheIndex:
    """The table of the cache's files. Any thread may call.

    One process at a time may construct one. A damaged database is begun anew, and what is not in it fetched again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = threading.RLock()
        try:
            self._database = self._create()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            self._database = self._create()

    def find(self, addresses: Iterable[str]) -> dict[str, Known]:
        """What is known under these addresses."""
        wanted = list(addresses)
        if len(wanted) > _VARIABLES and self._count() < _SCANNED_SHARE * len(wanted):
            among = set(wanted)
            return {known.address: known for known in self.all() if known.address in among}
        return {known.address: known for known in self._select("address", wanted)}

    def find_inodes(self, inodes: Iterable[int]) -> dict[int, Known]:
        """What is known of files with these inode numbers."""
        return {known.inode: known for known in self._select("inode", list(inodes))}

    def all(self) -> list[Known]:
        """Everything."""
        with self._open() as database:
            return [Known._make(row) for row in database.execute(_COLUMNS)]

    def windows(self) -> LinkWindows:
        """When we linked and unlinked."""
        with self._open() as database:
            return LinkWindows(database.execute("SELECT began_ns, ended_ns FROM link_windows"))

    def add_window(self, began_ns: int, ended_ns: int, used: Sequence[int], now: float) -> None:
        """Record one more, with the ids of the files that were used."""
        with self._open() as database:
            database.execute("INSERT INTO link_windows VALUES (?, ?)", (began_ns, ended_ns))
            database.execute(_DROP_OLD_WINDOWS, (_WINDOWS_KEPT,))
            runs = ((now, first, last) for first, last in _runs(sorted(used)))
            database.executemany("UPDATE objects SET used = ? WHERE id BETWEEN ? AND ?", runs)

    def keep(self, found: Iterable[tuple[str, str, os.stat_result]], now: float) -> None:
        """Record files as (address, digest, status): verified and used now."""
        rows = [(a, d, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns, now) for a, d, s in found]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO objects VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", rows)

    def doubt(self, ids: Sequence[int]) -> None:
        """Have these verified before they are used again."""
        with self._open() as database:
            database.executemany("UPDATE objects SET mtime_ns = ? WHERE id = ?", ((_NEVER, id) for id in ids))

    def forget(self, addresses: Iterable[str]) -> None:
        """Drop what is known of these."""
        with self._open() as database:
            database.executemany("DELETE FROM objects WHERE address = ?", ((address,) for address in addresses))

    def total_bytes(self) -> int:
        """The sizes of all files together."""
        with self._open() as database:
            return int(database.execute("SELECT coalesce(sum(size), 0) FROM objects").fetchone()[0])

    def least_used(self, before: float) -> list[tuple[str, int]]:
        """(address, size) of the files that nobody has used since `before`, least recently used first."""
        with self._open() as database:
            statement = "SELECT address, size FROM objects WHERE used < ? ORDER BY used, id"
            return [(str(address), int(size)) for address, size in database.execute(statement, (before,))]

    def leave(self) -> None:
        """To be called last, by a process that ends: it need not wait for the disk, unless much has gathered."""
        with self._turn, suppress(FileNotFoundError):
            if os.stat(f"{self._file}-wal").st_size < _GATHERED_BYTES and self._closing.detach():
                _left_open.append(self._database)

    def _count(self) -> int:
        with self._open() as database:
            return int(database.execute("SELECT count(*) FROM objects").fetchone()[0])

    def _select(self, column: str, values: Sequence[str | int]) -> Iterator[Known]:
        with self._open() as database:
            for start in range(0, len(values), _VARIABLES):
                some = values[start : start + _VARIABLES]
                marks = ", ".join("?" * len(some))
                yield from map(Known._make, database.execute(f"{_COLUMNS} WHERE {column} IN ({marks})", some))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._turn:
            if self._owner != os.getpid():  # a connection must not be carried over a fork
                self._database = self._connect()
            with self._database as database:
                yield database

    def _connect(self) -> sqlite3.Connection:
        # One connection for the whole life: closing the last one of a database writes it all to the disk.
        database = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._closing = weakref.finalize(self, database.close)
        self._owner = os.getpid()
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")  # each waits for the disk
        return database

    def _create(self) -> sqlite3.Connection:
        database = self._connect()
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'objects_by_inode'").fetchone():
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
        return database


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of consecutive numbers."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last
