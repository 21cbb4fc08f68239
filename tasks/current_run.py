"""The flow run in which one is: its identity, its page in the workflow UI, and whether somebody cancelled it there."""

import uuid

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from tasks.journal import JOURNAL


def run_key() -> str:
    """The identity of the current flow run: the same when the run is retried."""
    journal = JOURNAL.get()
    if journal is not None:
        return journal.id
    run = server_run()
    return str(run.id) if run else str(uuid.uuid4())


def server_run() -> FlowRun | None:
    """The current flow run as a server knows it; None where none does."""
    context = FlowRunContext.get()
    return context.flow_run if context is not None and JOURNAL.get() is None else None


def is_scheduled() -> bool:
    """Whether a schedule asked for the current flow run: with the same parameters each time."""
    run = server_run()
    return run is not None and bool(run.auto_scheduled)


def is_retry() -> bool:
    """Whether the current flow run has run before, and was asked for again."""
    run = server_run()
    return run is not None and run.run_count > 1


def has_page() -> bool:
    """Whether the current flow run has a page that somebody can look at while it goes on."""
    return server_run() is not None


def cancel_requested() -> bool:
    """Whether somebody cancelled the current flow run in the workflow UI.

    A run without a runner gets no signal, so whoever follows something long asks now and then.
    """
    run = server_run()
    if run is None:
        return False
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run.id).state
    except (httpx.HTTPError, PrefectException):
        return False  # a server that restarts, or somebody who deletes the flow run, cancels nothing
    return state is not None and (state.is_cancelling() or state.is_cancelled())
