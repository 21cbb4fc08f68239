"""Reading with plain SQL on few connections."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from blocks.domain.errors import RegistryUnavailableError
from blocks.domain.moments import from_microseconds
from blocks.registry.driver import Connection, Driver
from blocks.registry.identity import storable
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
        connection = self._take()
        if connection is not None:
            try:
                return self._select(connection, sql, parameters)
            except RegistryUnavailableError:
                self._close_idle()  # the server was restarted: the others are lost as well
        return self._select(self._connect(), sql, parameters)

    def row(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, **parameters)
        return found[0] if found else None

    def close(self) -> None:
        """Close all connections; those in use are closed when they come back."""
        self._closed = True
        self._close_idle()

    def _connect(self) -> Connection:
        try:
            return self.driver.connect(autocommit=True)
        except self.driver.errors as exc:
            raise self.driver.error(exc) from exc

    def _select(self, connection: Connection, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        try:
            cursor = connection.execute(self.driver.statement(sql), _storable(parameters))
            names = [column[0] for column in cursor.description]
            found: list[Row] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except self.driver.errors as exc:
            connection.close()
            raise self.driver.error(exc) from exc
        except BaseException:
            connection.close()
            raise
        self._put(connection)
        return found

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def _storable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: storable(value) if isinstance(value, str) else value for name, value in parameters.items()}


class Rows(Protocol):
    """Where rows come from: a connection of its own, or a transaction that is being written."""

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """All rows of a SELECT with `:name` parameters."""


def history_of(rows: Rows, id: str) -> list[Move]:
    """Every move of a resource's status, oldest first."""
    sql = "SELECT at_us, source, target, reason FROM status_move WHERE resource_id = :id ORDER BY id"
    return [
        Move(at=from_microseconds(row["at_us"]), source=row["source"], target=row["target"], reason=row["reason"])
        for row in rows.rows(sql, id=id)
    ]
