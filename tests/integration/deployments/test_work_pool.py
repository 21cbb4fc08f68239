"""Deployments in a work pool of a user's own. They stay there, so the package's other tests come before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from deployments.catalogue import catalogue
from deployments.finish_forms import finish_forms
from tasks.triggering import DEPLOYMENT
from tests.integration.deployments.conftest import Workflows

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("deployments")]


@pytest.mark.req("COM-04")
def test_prefect_deploy_takes_the_file_of_all_deployments_whose_forms_can_be_finished(workflows: Workflows) -> None:
    registered = {one.entrypoint: one.parameter_openapi_schema for one in workflows.client.read_deployments()}
    workflows.client.create_work_pool(WorkPoolCreate(name=DEPLOYMENT, type="process"))
    file = Path(__file__).parents[3] / "prefect.yaml"
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    subprocess.run(command, env=environment, cwd=workflows.code, check=True, capture_output=True)
    made = workflows.client.read_deployments()
    assert {one.entrypoint for one in made if one.work_pool_name == DEPLOYMENT} == {
        entry.entrypoint for entry in catalogue()
    }
    assert {one.entrypoint: one.parameter_openapi_schema for one in made} != registered
    assert finish_forms() == len(registered)
    again = workflows.client.read_deployments()
    assert {one.entrypoint: one.parameter_openapi_schema for one in again} == registered
    assert {one.entrypoint: one.tags for one in again} == {entry.entrypoint: entry.tags for entry in catalogue()}
