"""What the runner does once it has registered everything, and how it lets the guard know."""

import json
import logging
from contextlib import suppress

import httpx
from prefect.exceptions import PrefectException

from blocks.connections.server import configured_api
from blocks.connections.settings import read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from blocks.gateway.front_door import write_private
from deployments.up.layout import Layout
from flows.upkeep import upkeep_flow
from tasks.export import export_earlier_runs
from tasks.triggering import trigger

logger = logging.getLogger("makerflow")


def arrive() -> None:
    """Add earlier runs to the UI, ask for the upkeep, and say so."""
    settings = read_settings()
    added = export_earlier_runs(configured_api(settings))
    try:
        trigger(upkeep_flow)
    except (httpx.HTTPError, PrefectException, WorkflowServerUnavailableError) as error:
        logger.warning("The upkeep could not be asked for; it runs by itself every few minutes: %s", error)
    with suppress(FileNotFoundError):  # run by hand, without a guard that would want to know
        write_private(Layout(settings.home).arrival, json.dumps({"earlier_runs_added": added}))
