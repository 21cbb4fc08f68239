"""The registry in a PostgreSQL: many machines."""

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from blocks.domain.errors import InvalidInputError, MakerflowError, RegistryUnavailableError, RegistryUnusableError
from blocks.registry.driver import Driver

CONNECT_SECONDS = 10
LOCK_MILLISECONDS = 30_000
IDLE_MILLISECONDS = 60_000
_MIGRATING = "makerflow:migrating"
_HELD = """
SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1 AND d.datname = current_database()
"""
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError)
_ABSENT = re.compile(r'FATAL:  (database|role) ".*" does not exist')
"""Of a connection that was refused psycopg tells no code."""


class PostgresDriver(Driver):
    """PostgreSQL through psycopg, READ COMMITTED."""

    dialect = "postgresql"
    # Not LIKE: without statistics PostgreSQL takes any pattern for a rare one, and sorts everything that has it.
    has_part = "strpos(lower(t.name), :part) > 0"
    find = "strpos"
    errors = (psycopg.Error,)

    def __init__(self, url: str) -> None:
        try:
            parts = conninfo_to_dict(url)
        except psycopg.Error as exc:
            raise InvalidInputError(
                "The registry's URL of a PostgreSQL (MAKERFLOW_REGISTRY_URL)",
                f"it is not understood ({_hushed(exc)})",
                "Give postgresql://USER@HOST/DATABASE.",
            ) from None
        timeout = parts.get("connect_timeout") or CONNECT_SECONDS
        self._conninfo = make_conninfo(url, connect_timeout=timeout, application_name="makerflow")
        self.where = f"{parts.get('dbname') or ''} at {parts.get('host') or 'localhost'}"

    def connect(self, *, autocommit: bool) -> psycopg.Connection[Any]:
        """A holder of a lock that hangs is cut off, so that nobody waits for it for ever."""
        connection = psycopg.connect(self._conninfo, autocommit=True)
        connection.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}")
        connection.autocommit = autocommit
        return connection

    def statement(self, sql: str) -> str:
        """`:name` as `%(name)s`."""
        return re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", sql)

    def exists(self) -> bool:
        """Connecting never makes a database."""
        return True

    def is_no_such_table(self, exc: BaseException) -> bool:
        """PostgreSQL has a code for it."""
        return isinstance(exc, psycopg.errors.UndefinedTable)

    def prepare(self) -> None:
        """Whoever made the database has made it ready."""

    def error(self, exc: BaseException) -> MakerflowError:
        """A lost connection, a lock that did not come and a refused log-in may pass; the rest will not."""
        if _ABSENT.search(str(exc)):
            remedy = "Create it (createdb, createuser), or correct MAKERFLOW_REGISTRY_URL."
            return RegistryUnusableError(self.where, _hushed(exc), remedy)
        if isinstance(exc, _PASSING):
            return RegistryUnavailableError(f"{self.where}: {_hushed(exc)}")
        if isinstance(exc, psycopg.DataError):
            return InvalidInputError("a value", _hushed(exc), "Give one that a PostgreSQL can keep.")
        why = f"{type(exc).__name__}: {_hushed(exc)}"
        return RegistryUnusableError(self.where, why, "Look at it with `makerflow doctor`.")

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """A lock of the server's, gone with the connection."""
        with self.lease(_MIGRATING):
            yield

    @contextmanager
    def lease(self, key: str) -> Iterator[None]:
        """A lock of the server's on a connection of its own, gone with it."""
        connection = self._connected()
        try:
            connection.execute("SET lock_timeout = 0")
            connection.execute("SELECT pg_advisory_lock(%s)", (_number(key),))
            yield
        finally:
            with suppress(psycopg.Error):  # the server notices a closed connection only some time later
                connection.execute("SELECT pg_advisory_unlock(%s)", (_number(key),))
            connection.close()

    def leased(self, keys: Collection[str]) -> set[str]:
        """Those of the server's locks: one look, however many keys there are."""
        with self._connected() as connection:
            held = {row[0] for row in connection.execute(_HELD)}
        return {key for key in keys if _number(key) in held}

    def tidy_leases(self) -> int:
        """A lock is gone with its connection."""
        return 0

    def _connected(self) -> psycopg.Connection[Any]:
        try:
            return self.connect(autocommit=True)
        except psycopg.Error as exc:
            raise self.error(exc) from exc


def _number(key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"makerflow:{key}".encode()).digest()[:8], "big", signed=True)


def _hushed(exc: BaseException) -> str:
    """The first line, without what may be a URL with its password."""
    return re.sub(r"://[^@\s]*@", "://...@", (str(exc) or type(exc).__name__).splitlines()[0])
