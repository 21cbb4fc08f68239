"""Proof that a flow run lives: a lease that dies with its process, and an entry that upkeep closes in its place.

Where a workflow server sees the run, the server's own heartbeats would cost each flow a second, and say less.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect import Flow
from prefect.exceptions import TerminationSignal

from blocks.connections.platform import open_platform
from blocks.domain.errors import TransientError
from blocks.registry.flow_runs import FlowRuns
from blocks.registry.records import FlowRunRecord
from tasks.current_run import server_run

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("makerflow")

ASKED_TO_END = "ASKED TO END"
"""The state in the entry of a run that a signal asked to end, and that had the time to write this down."""


def lease_of(flow_run_id: str) -> str:
    """The lease that the process of a flow run holds."""
    return f"flow-{flow_run_id}"


def flow(*, name: str, flow_run_name: str, **options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Prefect's `flow`, whose runs prove that they live."""

    def decorate(fn: Callable[P, R]) -> Flow[P, R]:
        @wraps(fn)
        def body(*args: P.args, **kwargs: P.kwargs) -> R:
            with _seen_by_server():
                return fn(*args, **kwargs)

        return prefect.flow(name=name, flow_run_name=flow_run_name, **options)(body)

    return decorate


@contextmanager
def living(flow_run_id: str, begin: Callable[[], None]) -> Iterator[None]:
    """Hold the run's lease; `begin` writes its entry. Where the registry does not answer, the run goes on without."""
    with ExitStack() as stack:
        try:
            stack.enter_context(open_platform().registry.lease(lease_of(flow_run_id)))
            begin()
        except TransientError as error:
            logger.warning("Should this run die, nobody will see that it did: %s", error)
        yield


@contextmanager
def _seen_by_server() -> Iterator[None]:
    run = server_run()
    if run is None:
        yield
        return
    id, journal = str(run.id), open_platform().registry.flow_runs
    record = FlowRunRecord(
        id=id, flow_name="", name=run.name, parameters={}, state="RUNNING", message="", started=_now(), ended=None
    )
    with living(id, lambda: journal.begin(record)):
        try:
            yield
        except Exception:
            _end(journal, id)
            raise
        except (TerminationSignal, KeyboardInterrupt):  # by the entry upkeep finds what nobody goes on with
            with suppress(TransientError):
                journal.begin(record.model_copy(update={"state": ASKED_TO_END}))
            raise
        _end(journal, id)


def _end(journal: FlowRuns, id: str) -> None:
    with suppress(TransientError):  # upkeep asks the server before it believes the entry
        journal.end(id)


def _now() -> datetime:
    return datetime.now(UTC)
