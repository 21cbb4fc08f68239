"""`python -m deployments.finish_forms`: gives what `prefect deploy --all` has registered the forms of `makerflow up`.

Prefect makes a form of a flow's parameters; the titles and the catalogue's menus are ours.
"""

import tasks  # noqa: F401 - gives Prefect its home, before it is imported

# isort: split
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.utilities.callables import parameter_schema

from blocks.connections.platform import open_platform
from blocks.domain.errors import MakerflowError
from deployments.catalogue import catalogue
from deployments.forms import finished_form
from tasks.triggering import deployment_id, workflow_client


def finish_forms() -> int:
    """Write the forms of all deployments to the workflow server; how many there are.

    Raises:
        WorkflowServerUnavailableError: No server answers, or it has not all of the deployments.
    """
    entries = list(catalogue())
    with workflow_client() as client:
        for entry in entries:
            form = finished_form(parameter_schema(entry.flow), open_platform().catalogue, entry.resource)
            changed = DeploymentUpdate(parameter_openapi_schema=form.model_dump(exclude_unset=True))
            client.update_deployment(deployment_id(client, entry.flow), changed)
    return len(entries)


if __name__ == "__main__":
    try:
        print(f"{finish_forms()} forms are finished.")
    except MakerflowError as error:
        raise SystemExit(str(error)) from error
