"""`python -P -m deployments.runner`: registers every deployment on the workflow server and runs what is asked of them.

Each flow run is a process of its own. The end of the runner ends none of them: who follows a training asks the server
itself whether it was cancelled, and the next runner takes up what is scheduled.
"""

import asyncio
import os
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from deployments.catalogue import NAME, CatalogueEntry, catalogue, product_version

POLL_SECONDS = 2.0


class DeploymentRunner(Runner):
    """Prefect's runner, which would cancel every run when it ends and drop the schedules that users have made."""

    async def aadd_deployment(self, deployment: RunnerDeployment) -> UUID:
        """Register a deployment; schedules are made with it, and belong to the users from then on."""
        async with get_client() as client:
            try:
                await client.read_deployment_by_name(deployment.full_name)
                deployment = deployment.model_copy(update={"schedules": None})
            except ObjectNotFound:
                pass
        return await super().aadd_deployment(deployment)

    def handle_sigterm(self, *_: object) -> None:
        """End at once, and leave every flow run as it is."""
        os._exit(0)


async def serve() -> None:
    """Register all deployments and serve them until SIGTERM."""
    runner = DeploymentRunner(name=NAME, limit=None, query_seconds=POLL_SECONDS, pause_on_shutdown=False)
    for entry in catalogue():
        await _register(runner, entry)
    await runner.start()


async def _register(runner: DeploymentRunner, entry: CatalogueEntry) -> None:
    await runner.aadd_flow(
        entry.flow,
        name=NAME,
        description=entry.description,
        tags=entry.tags,
        version=product_version(),
        interval=entry.every,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    asyncio.run(serve())
