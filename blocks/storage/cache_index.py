"""What the cache knows of its files: kept in SQLite, so that many processes share it."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_BUSY_SECONDS = 60
_VARIABLES = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    address TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_use ON objects (used);
CREATE INDEX IF NOT EXISTS objects_by_inode ON objects (inode);
"""


@dataclass(frozen=True, slots=True)
class Known:
    """One file of the cache, as it was when its bytes were last known to be right.

    Attributes:
        address: Its name.
        digest: Of its bytes.
        inode: Its size, mtime and ctime changing with its number means that somebody wrote it, or could have.
    """

    address: str
    digest: str
    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int

    def describes(self, status: os.stat_result) -> bool:
        """Whether the file has not been touched since."""
        return (status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino) == (
            self.ctime_ns,
            self.mtime_ns,
            self.size,
            self.inode,
        )


class CacheIndex:
    """The table of the cache's files. Each call opens the database for itself, so any thread may call.

    One process at a time may construct one. A damaged database is begun anew, and what is not in it fetched again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._create()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            self._create()

    def find(self, addresses: Iterable[str]) -> dict[str, Known]:
        """What is known under these addresses."""
        return {known.address: known for known in self._select("address", list(addresses))}

    def find_inodes(self, inodes: Iterable[int]) -> dict[int, Known]:
        """What is known of files with these inode numbers."""
        return {known.inode: known for known in self._select("inode", list(inodes))}

    def all(self) -> list[Known]:
        """Everything, by address."""
        with self._open() as database:
            return [Known(*row) for row in database.execute(f"{_COLUMNS} ORDER BY address")]

    def keep(self, found: Iterable[tuple[str, str, os.stat_result]], now: float) -> None:
        """Record files as (address, digest, status): verified and used now."""
        rows = [(a, d, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns, now) for a, d, s in found]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def touch(self, changed: Iterable[tuple[str, int]], now: float) -> None:
        """Record (address, ctime) of files that we ourselves linked or unlinked: still verified, and used now."""
        with self._open() as database:
            statement = "UPDATE objects SET ctime_ns = ?, used = ? WHERE address = ?"
            database.executemany(statement, ((ctime_ns, now, address) for address, ctime_ns in changed))

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
            statement = "SELECT address, size FROM objects WHERE used < ? ORDER BY used, address"
            return [(str(address), int(size)) for address, size in database.execute(statement, (before,))]

    def _select(self, column: str, values: Sequence[str | int]) -> Iterator[Known]:
        with self._open() as database:
            for start in range(0, len(values), _VARIABLES):
                some = values[start : start + _VARIABLES]
                marks = ", ".join("?" * len(some))
                for row in database.execute(f"{_COLUMNS} WHERE {column} IN ({marks})", some):
                    yield Known(*row)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with closing(sqlite3.connect(self._file, timeout=_BUSY_SECONDS)) as database:
            database.execute("PRAGMA synchronous = NORMAL")
            with database:
                yield database

    def _create(self) -> None:
        with closing(sqlite3.connect(self._file, timeout=_BUSY_SECONDS)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'objects_by_inode'").fetchone():
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_SCHEMA)


_COLUMNS = "SELECT address, digest, size, inode, mtime_ns, ctime_ns FROM objects"
