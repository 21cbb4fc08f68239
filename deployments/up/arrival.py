"""`python -P -m deployments.up.arrival`: what is done once an instance serves; prints how many earlier runs it added.

A process of its own, so that the guard, which lives for weeks, never holds Prefect in its memory.
"""

import json
import logging
import sys

import httpx
from prefect.exceptions import PrefectException
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from blocks.connections.server import wait_for_api
from blocks.connections.settings import read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from deployments.catalogue import catalogue
from flows.upkeep import upkeep_flow
from tasks.export import export_earlier_runs
from tasks.triggering import deployment_id, trigger, workflow_client

PATIENCE_SECONDS = 120.0

logger = logging.getLogger("makerflow")


def arrive() -> int:
    """Add earlier runs to the UI, wait for the deployments, ask for the upkeep; how many runs there were."""
    api = read_settings().prefect_api_url
    wait_for_api(api)
    added = export_earlier_runs(api)
    _wait_for_deployments()
    try:
        trigger(upkeep_flow)
    except (httpx.HTTPError, PrefectException, WorkflowServerUnavailableError) as error:
        logger.warning("The upkeep could not be asked for; it runs by itself every few minutes: %s", error)
    return added


def _wait_for_deployments() -> None:
    patience = Retrying(
        retry=retry_if_exception_type(WorkflowServerUnavailableError),
        stop=stop_after_delay(PATIENCE_SECONDS),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    with workflow_client() as client:
        for entry in catalogue():
            patience(deployment_id, client, entry.flow)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"earlier_runs_added": arrive()}))
