"""How long the workflow server keeps upkeep's own flow runs: there are 288 a day, and nearly all found nothing.

All other flow runs are removed by the server itself, where it is ours: see `prefect_environment`.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectException

from tasks.current_run import server_run

KEPT = timedelta(days=2)
"""So long a run that completed is kept; one that did not stays as long as any other flow run."""

MOST = 100
"""So many one upkeep removes; the next goes on."""

logger = logging.getLogger("makerflow")


def remove_earlier_runs() -> int:
    """Remove earlier completed runs of the current run's deployment, with all that they hold; how many.

    A run that no deployment asked for removes nothing. What stands in the way is a warning.
    """
    run = server_run()
    if run is None or run.deployment_id is None:
        return 0
    old = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
        end_time=FlowRunFilterEndTime(before_=datetime.now(UTC) - KEPT),
    )
    try:
        with get_client(sync_client=True) as client:
            found = [earlier.id for earlier in client.read_flow_runs(flow_run_filter=old, limit=MOST)]
            _remove(client, found)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Earlier flow runs of upkeep could not be removed and will be later: %s", error)
        return 0
    return len(found)


def _remove(client: SyncPrefectClient, flow_runs: Collection[UUID]) -> None:
    """A server removes task runs and logs with their flow run, and leaves its artifacts."""
    theirs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(flow_runs)))
    for artifact in client.read_artifacts(artifact_filter=theirs) if flow_runs else ():
        client.delete_artifact(artifact.id)
    for flow_run in flow_runs:
        with suppress(ObjectNotFound):  # somebody else has removed it meanwhile
            client.delete_flow_run(flow_run)
