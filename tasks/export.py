"""Handing flow runs that were journaled without a server to a Prefect server, so that its UI shows them."""

from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.connections.platform import open_platform
from blocks.registry.records import FlowRunRecord


def export_journal(api: str) -> int:
    """Export every run that is still to be exported; how many there were.

    A run is exported once, however often; only its report may appear twice when a crash comes in between.
    """
    journal = open_platform().registry.flow_runs
    pending = journal.pending()
    if not pending:
        return 0
    with temporary_settings(updates={PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        for record in pending:
            _export(client, record)
            journal.exported(record.id)
    return len(pending)


def _export(client: SyncPrefectClient, record: FlowRunRecord) -> None:
    flow_id = client.create_flow_from_name(record.flow_name)
    run = _post(
        client,
        "/flow_runs/",
        {
            "flow_id": str(flow_id),
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


def _post(client: SyncPrefectClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client._client.post(path, json=body)
    response.raise_for_status()
    return dict(response.json())
