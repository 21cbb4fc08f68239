"""The registry in a file of SQLite: one machine, many processes."""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from blocks.domain.errors import MakerflowError, RegistryUnavailableError, RegistryUnusableError
from blocks.locks import is_at, is_locked, locked, try_lock
from blocks.registry.driver import Driver

BUSY_SECONDS = 30.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}


_ELSEWHERE = "Mend that, or set MAKERFLOW_HOME (or MAKERFLOW_REGISTRY_URL, if it is set) to another place."


class SQLiteDriver(Driver):
    """SQLite in WAL mode: readers never wait, one writer at a time, a last commit may be lost with the power only."""

    dialect = "sqlite"
    has_part = "t.name LIKE :pattern ESCAPE '!'"
    find = "instr"
    errors = (sqlite3.Error,)

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self.where = str(self._path)

    def connect(self, *, autocommit: bool) -> sqlite3.Connection:
        """The standard library begins nothing by itself: whoever writes says BEGIN, see `sessions`."""
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def statement(self, sql: str) -> str:
        """SQLite takes `:name` as it is."""
        return sql

    def exists(self) -> bool:
        """A file that is not empty."""
        return self._path.exists() and self._path.stat().st_size > 0

    def is_no_such_table(self, exc: BaseException) -> bool:
        """SQLite has no code for it."""
        return isinstance(exc, sqlite3.OperationalError) and str(exc).startswith("no such table")

    def prepare(self) -> None:
        """Make the file a write-ahead one: that is kept in the file."""
        connection = self.connect(autocommit=True)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()

    def error(self, exc: BaseException) -> MakerflowError:
        """By the primary part of SQLite's own code; a database that another process holds is a passing trouble."""
        code = getattr(exc, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary == sqlite3.SQLITE_CANTOPEN and (obstacle := self._obstacle()):
            return RegistryUnusableError(self.where, obstacle, _ELSEWHERE)
        if primary == sqlite3.SQLITE_FULL:
            return RegistryUnavailableError(f"the disk of {self.where} is full, so free some space there")
        if primary in _PASSING:
            return RegistryUnavailableError(f"{self.where}: {exc}")
        if primary in _DAMAGED:
            remedy = "Restore it from a backup, or move it away to begin with an empty one."
            return RegistryUnusableError(self.where, f"its file is damaged or is no database ({exc})", remedy)
        if primary in _FORBIDDEN:
            return RegistryUnusableError(self.where, str(exc), "Make the file and its directory writable for you.")
        return RegistryUnusableError(self.where, f"{type(exc).__name__}: {exc}", "Look at it with `makerflow doctor`.")

    def _obstacle(self) -> str:
        """Why the file cannot be opened as long as nobody mends it; SQLite does not say."""
        directory = self._path.parent
        if not directory.is_dir():
            return f"there is no directory {directory}"
        if self._path.is_dir():
            return "it is a directory"
        for place in (directory, self._path):
            if place.exists() and not os.access(place, os.R_OK | os.W_OK):
                is_readonly = os.statvfs(place).f_flag & os.ST_RDONLY
                return f"{place} is {'on a read-only file system' if is_readonly else 'not writable for you'}"
        return ""

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """A lock beside the file; the switch to WAL needs it as well as the tables."""
        if obstacle := self._obstacle():
            raise RegistryUnusableError(self.where, obstacle, _ELSEWHERE)
        with _held(Path(f"{self._path}.migrating")):
            yield

    @contextmanager
    def lease(self, key: str) -> Iterator[None]:
        """A locked file beside the database."""
        with _held(self._lease(key)):
            yield

    def leased(self, keys: Collection[str]) -> set[str]:
        """Those whose file is locked."""
        return {key for key in keys if is_locked(self._lease(key))}

    def tidy_leases(self) -> int:
        """Files that nobody locks."""
        return sum([_remove_unlocked(file) for file in self._leases.iterdir()])

    @property
    def _leases(self) -> Path:
        directory = Path(f"{self._path}.leases")
        directory.mkdir(exist_ok=True, mode=0o700)
        return directory

    def _lease(self, key: str) -> Path:
        return self._leases / quote(key, safe="")


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock on a file that is there only while it is held or waited for."""
    while True:
        with locked(path) as file:
            if is_at(path, file):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _remove_unlocked(path: Path) -> bool:
    """Remove the file of a lock that nobody holds; whether there was one."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not (try_lock(descriptor) and is_at(path, descriptor)):
            return False
        path.unlink()
        return True
    finally:
        os.close(descriptor)
