"""Handing flow runs that were journaled without a server to a Prefect server, so that its UI shows them."""

import logging
from http import HTTPStatus
from typing import Any, Literal

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.exceptions import PrefectException

from blocks.connections.client import client_of
from blocks.connections.platform import open_platform
from blocks.domain.errors import TransientError
from blocks.registry.records import FlowRunRecord

COME_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

logger = logging.getLogger("makerflow")


def export_earlier_runs(api: str) -> int:
    """`export_journal` for whoever has something else to do: what stops it is a warning."""
    try:
        return export_journal(api)
    except (httpx.HTTPError, PrefectException, TransientError) as error:
        logger.warning("Earlier runs could not be added to the workflow UI and will be later: %s", error)
        return 0


def export_journal(api: str) -> int:
    """Export every run that is still to be exported; how many were.

    A run is exported once, however often; only its report may appear twice when a crash comes in between. One that the
    server refuses (as when its settings are larger than it takes) is never tried again.

    Raises:
        httpx.HTTPError: The server does not answer, or refuses whatever it is asked.
        PrefectException: The same, in Prefect's words.
        TransientError: The registry does not answer.
    """
    journal = open_platform().registry.flow_runs
    pending = journal.pending()
    if not pending:
        return 0
    with client_of(api) as client:
        return sum([_settle(client, record) for record in pending])


def _settle(client: SyncPrefectClient, record: FlowRunRecord) -> bool:
    """Export a run, once and for all, unless the server refuses it; whether it took it."""
    flow_id = str(client.create_flow_from_name(record.flow_name))  # what is refused here is not the record
    try:
        _export(client, record, flow_id)
        taken = True
    except httpx.HTTPStatusError as error:
        if not error.response.is_client_error or error.response.status_code in COME_AGAIN:
            raise
        logger.warning("The workflow server refuses the earlier run of %s, so it is left out: %s", record.name, error)
        taken = False
    open_platform().registry.flow_runs.forget(record.id)
    return taken


def _export(client: SyncPrefectClient, record: FlowRunRecord, flow_id: str) -> None:
    run = _post(
        client,
        "/flow_runs/",
        {
            "flow_id": flow_id,
            "name": record.name,
            "parameters": record.parameters,
            "idempotency_key": record.id,
            "tags": ["makerflow", "without-server"],
            "state": _state(record.state, _when(record)),
        },
    )
    for number, done in enumerate(record.steps):
        _post(
            client,
            "/task_runs/",
            {
                "flow_run_id": run["id"],
                "task_key": done.name,
                "dynamic_key": str(number),
                "name": done.name,
                "state": _state(done.state, done.message or f"took {done.ended - done.started}"),
            },
        )
    for key, (description, markdown) in record.artifacts.items():
        client.create_artifact(
            ArtifactCreate(key=key, type="markdown", description=description, data=markdown, flow_run_id=run["id"])
        )


def _when(record: FlowRunRecord) -> str:
    ran = f"Ran without a server from {record.started:%Y-%m-%d %H:%M:%S} to {record.ended:%H:%M:%S} UTC."
    return f"{ran} {record.message}".strip()


def _state(type: str, message: str) -> dict[str, str]:
    return {"type": type, "name": type.capitalize(), "message": message[:2000]}


def _post(client: SyncPrefectClient, path: Literal["/flow_runs/", "/task_runs/"], body: dict[str, Any]) -> Any:
    """Prefect's own methods for these take a flow and a task, of which a journal has the names."""
    return client.request("POST", path, json=body).raise_for_status().json()
