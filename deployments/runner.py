"""`python -P -m deployments.runner`: registers every deployment on the workflow server and runs what is asked of them.

Each flow run is a process of its own. The end of the runner ends none of them: who follows a training asks the server
itself whether it was cancelled, and the next runner takes up what is scheduled.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import UUID

import httpx
from prefect._internal.versioning import VersionType
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import AsyncClientContext
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from blocks.connections.platform import open_platform
from blocks.connections.server import configured_api, wait_for_api
from blocks.connections.settings import make_home, read_settings
from blocks.domain.errors import MakerflowError
from deployments.catalogue import CatalogueEntry, catalogue, product_version
from deployments.flow_processes import ForkedStarter, forget_forking, prepare_forking, use_temporary_directory
from deployments.forms import finished_form
from deployments.scheduled_runs import Pace
from deployments.up.arrival import arrive
from deployments.up.layout import Layout
from deployments.up.log_rotation import FLOW_RUNS
from tasks.triggering import DEPLOYMENT

logger = logging.getLogger("makerflow")

POLL_SECONDS = 2.0
OF_THE_USERS = (
    "schedules",
    "paused",
    "parameters",
    "tags",
    "concurrency_limit",
    "concurrency_options",
    "job_variables",
)
"""Fields of a deployment that are set when it is first registered, and can be changed in the UI."""


class DeploymentRunner(Runner):
    """Prefect's runner, which would cancel every run when it ends, and drop the schedules that users have made.

    It has no limit of runs: those that follow trainings last for days, and with a limit they would keep out the run
    that stops one of them. What trainings take of the machine is bounded by the cluster's queue, and what a schedule
    asks for by its pace.
    """

    def __init__(self, log: Path, pulse: Path) -> None:
        super().__init__(name=DEPLOYMENT, limit=None, query_seconds=POLL_SECONDS, pause_on_shutdown=False)
        self._log, self._pulse = log, pulse
        self._pace = Pace()

    async def aadd_deployment(self, deployment: RunnerDeployment) -> UUID:
        """Register a deployment; of one that exists, what users may have changed stays as it is."""
        async with get_client() as client:
            try:
                await client.read_deployment_by_name(deployment.full_name)
            except ObjectNotFound:
                return await super().aadd_deployment(deployment)
        deployment.model_fields_set.difference_update(OF_THE_USERS)
        return await super().aadd_deployment(deployment)

    def handle_sigterm(self, *_: object) -> None:
        """End at once, and leave every flow run as it is."""
        forget_forking()
        os._exit(0)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        poller = self._scheduled_run_poller
        poller._resolve_starter = self._starter
        self._asked_for = poller._get_scheduled_flow_runs
        poller._get_scheduled_flow_runs = self._to_be_started  # type: ignore[method-assign] # there is no other way in
        return self

    async def _to_be_started(self) -> list[FlowRun]:
        """What is asked for, the longest due first, without what a schedule asks for more often than it may.

        Nothing while the server cannot tell: Prefect's runner ends at the third failure, and every flow run with it.
        """
        with suppress(OSError):  # a full disk, or no `makerflow up` here
            self._pulse.touch()
        try:
            runs = await self._not_outdated()
        except (httpx.HTTPError, PrefectException) as error:
            logger.warning("The workflow server does not tell what is asked for: %s", error)
            return []
        found = []
        for run in runs:
            if self._pace.lets(run):
                found.append(run)
            else:
                await self._drop(run)
        return found

    async def _not_outdated(self) -> list[FlowRun]:
        """What is asked for, without what was missed and is asked for again since."""
        while True:
            runs = await self._asked_for()
            outdated = self._pace.outdated(runs, datetime.now(UTC))
            dropped = [await self._drop(run) for run in outdated]
            if not any(dropped):
                return [run for run in runs if run not in outdated]
            # There may be more than the server tells of at once, and a newer one among them.

    async def _drop(self, run: FlowRun) -> bool:
        """Delete a flow run that has not begun; False when that failed: it is asked for again."""
        with suppress(httpx.HTTPError, PrefectException):
            await self._client.delete_flow_run(run.id)
            return True
        return False

    def _starter(self, flow_run: FlowRun) -> ForkedStarter:
        return ForkedStarter(self._log, self._control_channel)


async def serve() -> None:
    """Register all deployments and serve them until SIGTERM."""
    layout = Layout(make_home(read_settings()))
    log = layout.log(FLOW_RUNS)
    log.parent.mkdir(exist_ok=True, mode=0o700)
    use_temporary_directory(layout.temporary)
    prepare_forking()
    runner = DeploymentRunner(log, layout.pulse)
    # Also wakes the loop when the signal reaches another thread, which Prefect's own way does not.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, runner.handle_sigterm)
    deployments = [await _deployment(entry) for entry in catalogue()]
    await asyncio.to_thread(wait_for_api, configured_api(read_settings()))
    # One client for all: each would read the certificates of the whole world, and connect anew.
    async with AsyncClientContext.get_or_create():
        for deployment in deployments:  # together they would find the server's database locked
            await runner.aadd_deployment(deployment)
    await asyncio.to_thread(arrive)
    await runner.start()


async def _deployment(entry: CatalogueEntry) -> RunnerDeployment:
    deployment = await entry.flow.ato_deployment(
        name=DEPLOYMENT,
        description=entry.description,
        tags=entry.tags,
        version=product_version(),
        version_type=VersionType.SIMPLE,  # else it runs git in the current directory
        interval=entry.every,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    form = deployment._parameter_openapi_schema
    deployment._parameter_openapi_schema = finished_form(form, open_platform().catalogue, entry.resource)
    return deployment


if __name__ == "__main__":
    try:
        asyncio.run(serve())
    except MakerflowError as error:
        sys.exit(str(error))
