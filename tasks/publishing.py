"""Reports on the page of the current flow run."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactCollectionFilter,
    ArtifactCollectionFilterKey,
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.exceptions import PrefectException

from tasks.current_run import server_run
from tasks.journal import JOURNAL

logger = logging.getLogger("makerflow")


def publish_report(key: str, description: str, markdown: str, *, unless_known: bool = False) -> None:
    """Show `markdown` on the run's page, replacing what was shown under this key.

    Args:
        key: Under which it is shown.
        description: Stands beside it.
        markdown: The report.
        unless_known: Not when the last run that showed something under this key showed the same.
    """
    journal = JOURNAL.get()
    if journal is not None:
        journal.artifacts[key] = (description, markdown)
        return
    run = server_run()
    if run is None:
        return
    try:
        with get_client(sync_client=True) as client:
            if not (unless_known and _is_known(client, key, markdown)):
                _publish(client, run.id, key, description, markdown)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("The report could not be shown in the workflow UI: %s", error)


def _is_known(client: SyncPrefectClient, key: str, markdown: str) -> bool:
    latest = client.read_latest_artifacts(
        artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key])), limit=1
    )
    return bool(latest) and latest[0].data == markdown


def _publish(client: SyncPrefectClient, flow_run_id: UUID, key: str, description: str, markdown: str) -> None:
    """The server is asked what it shows already: an earlier process of the same flow run may have published it."""
    shown = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    known = client.read_artifacts(artifact_filter=shown, limit=1)
    if known:
        client.update_artifact(known[0].id, ArtifactUpdate(data=markdown, description=description))
    else:
        made = ArtifactCreate(key=key, type="markdown", description=description, data=markdown, flow_run_id=flow_run_id)
        client.create_artifact(made)
