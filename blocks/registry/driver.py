"""The two databases: how each is reached, what its errors mean, and what keeps a lease on it.

Only the standard library is imported before a PostgreSQL is asked for. Reading goes to the driver straight: importing
SQLModel takes longer than a hundred lists, and a command that lists must answer at once.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol

from blocks.domain.errors import InvalidInputError, MakerflowError


class Cursor(Protocol):
    """What both drivers' cursors share."""

    @property
    def description(self) -> Any:
        """One sequence for each column; its first item is the name."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """What both drivers' connections share."""

    def execute(self, statement: Any, parameters: Any = ...) -> Any:
        """Run one statement."""

    def close(self) -> None:
        """Close it."""


class Driver(ABC):
    """One database.

    Attributes:
        dialect: SQLAlchemy's name of it.
        where: How messages call it; without a password.
        has_part: The quickest condition that `t.name` has the lower-case `:part` (as a LIKE pattern, escaped by "!",
            `:pattern`), upper and lower case being the same.
        find: The function that tells where in a text another is, from 1; 0 when it is not.
        errors: What its driver raises.
    """

    dialect: str
    where: str
    has_part: str
    find: str
    errors: tuple[type[Exception], ...]

    @abstractmethod
    def connect(self, *, autocommit: bool) -> Connection:
        """A new connection, that several threads may use one after the other.

        Args:
            autocommit: Each statement is a transaction; otherwise the caller begins and ends them.
        """

    @abstractmethod
    def statement(self, sql: str) -> str:
        """SQL with `:name` parameters, as the driver takes it."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something to connect to; connecting to nothing may make it."""

    @abstractmethod
    def is_no_such_table(self, exc: BaseException) -> bool:
        """Whether a statement failed because a table is missing."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the database ready to be written to for the first time; twice is fine."""

    @abstractmethod
    def error(self, exc: BaseException) -> MakerflowError:
        """What to raise instead of one of `errors`."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[None]:
        """Held by the one process that changes the schema; others wait. Freed when that process dies."""

    @abstractmethod
    def lease(self, key: str) -> AbstractContextManager[None]:
        """Held by the one who works on `key`; others wait. Freed when its process dies."""

    @abstractmethod
    def leased(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` whose lease somebody holds now."""

    @abstractmethod
    def tidy_leases(self) -> int:
        """Remove what holders of leases that were killed left of them; how much that was."""


def open_driver(url: str) -> Driver:
    """The driver of a registry's URL.

    Raises:
        InvalidInputError: It is neither SQLite's nor PostgreSQL's.
    """
    if match := re.fullmatch(r"sqlite(?:\+pysqlite)?:///(.+)", url, re.DOTALL):
        if match[1] != ":memory:":
            from blocks.registry.sqlite import SQLiteDriver

            return SQLiteDriver(match[1])
    elif match := re.fullmatch(r"postgres(?:ql)?(?:\+psycopg)?(://.*)", url):
        from blocks.registry.postgres import PostgresDriver

        return PostgresDriver(f"postgresql{match[1]}")
    raise InvalidInputError(
        f"The registry's URL {url.partition(':')[0]}:... (MAKERFLOW_REGISTRY_URL)",
        "it is neither a file of SQLite nor a PostgreSQL",
        "Give sqlite:///PATH or postgresql://USER@HOST/DATABASE, e.g. MAKERFLOW_REGISTRY_URL=sqlite:////data/registry.db.",
    )
