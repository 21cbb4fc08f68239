"""The catalogue of deployments, and what is made of it."""

from pathlib import Path

import pytest

from deployments.catalogue import catalogue
from deployments.prefect_yaml import prefect_yaml
from flows.upkeep import CANCELLABLE


@pytest.mark.req("COM-04")
def test_prefect_yaml_is_what_the_catalogue_makes():
    kept = (Path(__file__).parents[2] / "prefect.yaml").read_text()
    assert kept == prefect_yaml(), "run: python -m deployments.prefect_yaml > prefect.yaml"


@pytest.mark.req("COM-04")
def test_every_deployment_has_a_name_of_its_own_a_description_and_a_parameter_form_that_says_what_is_asked():
    entries = list(catalogue())
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.description.endswith(".")
        assert "Args:" not in entry.description
        form = entry.flow.parameters.properties
        assert all(field.get("description") for field in form.values()), entry.name


@pytest.mark.req("COM-04", "TRN-13")
def test_upkeep_knows_every_flow_whose_cancellation_ends_more_than_a_process():
    assert {e.flow.name for e in catalogue() if e.flow.on_cancellation_hooks} == set(CANCELLABLE)
