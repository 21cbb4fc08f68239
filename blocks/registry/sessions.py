"""Writing: short transactions through SQLModel, which is imported by whoever writes first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blocks.domain.errors import InvalidInputError
from blocks.registry.driver import Driver

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from blocks.registry.writing import Writing


class Sessions:
    """Gives transactions. Safe for threads, not across a fork."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @contextmanager
    def begin(self) -> "Iterator[Writing]":
        """One transaction: committed at the end of the block, rolled back by what is raised in it.

        Raises:
            RegistryUnavailableError: The database did not answer, or was locked for too long; nothing was changed,
                unless the connection was lost in the very commit.
            RegistryUnusableError: It cannot be written to.
        """
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        from blocks.registry.writing import Writing, new_session

        try:
            with new_session(self._open_engine()) as session, session.begin():
                yield Writing(session)
        except self._driver.errors as exc:
            raise self._driver.error(exc) from exc
        except DBAPIError as exc:
            raise self._driver.error(exc.orig or exc) from exc
        except SQLAlchemyError as exc:
            raise self._driver.error(exc) from exc
        except UnicodeEncodeError as exc:
            raise InvalidInputError("a text", "it is no whole Unicode", "Give it without broken characters.") from exc

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _open_engine(self) -> "Engine":
        from blocks.registry.engine import open_engine

        with self._lock:
            if self._engine is None:
                self._engine = open_engine(self._driver)
            return self._engine
