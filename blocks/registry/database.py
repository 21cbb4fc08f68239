"""The registry: what exists, in which status, since when, and what it measured."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from weakref import finalize

from blocks.registry.connections import Connections
from blocks.registry.driver import Driver, open_driver
from blocks.registry.experiments import Experiments
from blocks.registry.flow_runs import FlowRuns
from blocks.registry.metrics import Metrics
from blocks.registry.monitoring import Monitoring
from blocks.registry.overview import Overview
from blocks.registry.reading import Reader
from blocks.registry.schema import ensure_schema
from blocks.registry.sessions import Sessions
from blocks.registry.templates import Templates
from blocks.registry.trainings import Trainings
from blocks.registry.tunings import Tunings


class Registry:
    """One database's families of resources. Nothing is read or written after `close`.

    Safe for many threads and many processes at once (but not across a fork). Every call is one short transaction; only
    errors of `blocks.domain.errors` leave it, a `TransientError` when the same call may succeed later.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._worked_on: set[str] = set()
        self._reader = Reader(driver)
        self._sessions = Sessions(driver)
        self.experiments = Experiments(self._reader, self._sessions)
        self.trainings = Trainings(self._reader, self._sessions)
        self.tunings = Tunings(self._reader, self._sessions)
        self.templates = Templates(self._reader, self._sessions)
        self.metrics = Metrics(self._reader, self._sessions)
        self.monitoring = Monitoring(self._reader)
        self.overview = Overview(self._reader, self._sessions)
        self.flow_runs = FlowRuns(self._reader, self._sessions)
        self.connections = Connections(self._reader, self._sessions)
        # Also for who forgets it, as commands do that end anyway: no connection is left to the garbage collector.
        self._close = finalize(self, _close, self._reader, self._sessions)

    @cached_property
    def id(self) -> str:
        """Its own id, made with it: what it has on a cluster or on disk is told by it from another registry's."""
        return str(self._reader.rows("SELECT id FROM registry")[0]["id"])

    @contextmanager
    def lease(self, id: str) -> Iterator[None]:
        """Held while working on a resource; who comes second waits until the first is done, or its process is dead."""
        with self._driver.lease(id):
            self._worked_on.add(id)
            yield

    def is_leased(self, id: str) -> bool:
        """Whether somebody works on a resource now."""
        return bool(self._driver.leased((id,)))

    def leased(self, ids: Collection[str]) -> set[str]:
        """Those of the resources that somebody works on now."""
        return self._driver.leased(ids)

    def tidy_leases(self) -> int:
        """Remove what workers that were killed left of their leases; how much that was."""
        return self._driver.tidy_leases()

    def has_leased(self, id: str) -> bool:
        """Whether this object holds or held the lease of a resource: it works, or has worked, on it."""
        return id in self._worked_on

    def close(self) -> None:
        """Close all connections."""
        self._close()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(reader: Reader, sessions: Sessions) -> None:
    reader.close()
    sessions.close()


def open_registry(url: str) -> Registry:
    """Open a registry, and make or migrate its tables when that has to be done.

    Args:
        url: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`, as SQLAlchemy writes them.

    Raises:
        InvalidInputError: The URL is of another kind.
        RegistryUnavailableError: The database does not answer.
        RegistryUnusableError: It is newer than this program, damaged, or cannot be written to.
    """
    driver = open_driver(url)
    ensure_schema(driver)
    return Registry(driver)
