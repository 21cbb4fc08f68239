"""Reading with plain SQL on few connections."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from blocks.registry.driver import Connection, Driver
from blocks.registry.identity import from_us
from blocks.registry.records import Move

Row = Mapping[str, Any]
IDLE_CONNECTIONS = 8


class Reader:
    """Runs SELECTs, each a transaction of its own. Safe for threads, not across a fork."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """All rows of a SELECT with `:name` parameters.

        Raises:
            RegistryUnavailableError: The database did not answer.
            RegistryUnusableError: It is there, but not a registry that can be read.
        """
        with self._connection() as connection:
            cursor = connection.execute(self.driver.statement(sql), parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, **parameters)
        return found[0] if found else None

    def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            connection = self._take() or self.driver.connect(autocommit=True)
        except self.driver.errors as exc:
            raise self.driver.error(exc) from exc
        try:
            yield connection
        except self.driver.errors as exc:
            connection.close()  # it may be a lost one
            raise self.driver.error(exc) from exc
        except BaseException:
            connection.close()
            raise
        self._put(connection)

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


class Rows(Protocol):
    """Where rows come from: a connection of its own, or a transaction that is being written."""

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """All rows of a SELECT with `:name` parameters."""


def history_of(rows: Rows, id: str) -> list[Move]:
    """Every move of a resource's status, oldest first."""
    sql = "SELECT at_us, source, target, reason FROM status_move WHERE resource_id = :id ORDER BY id"
    return [
        Move(at=from_us(row["at_us"]), source=row["source"], target=row["target"], reason=row["reason"])
        for row in rows.rows(sql, id=id)
    ]
