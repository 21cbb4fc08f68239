"""What the workflow UI draws a form from: titles, menus of the catalogue, and nothing that it can only show as JSON."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.callables import ParameterSchema, parameter_schema

from blocks.domain.catalogues import load_catalogue
from deployments.catalogue import CatalogueEntry, catalogue
from deployments.forms import finished_form
from flows.training import create_training_flow

ENTRIES = {entry.flow.name: entry for entry in catalogue()}


def form_of(entry: CatalogueEntry) -> ParameterSchema:
    return finished_form(parameter_schema(entry.flow), load_catalogue(), entry.resource)


def fields_of(form: ParameterSchema) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from form.properties.items()
    for definition in form.definitions.values():
        yield from definition.get("properties", {}).items()


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("name", ENTRIES)
def test_every_field_has_a_title_and_a_description_and_is_no_bare_json(name: str) -> None:
    form = form_of(ENTRIES[name])
    for field_name, field in fields_of(form):
        group = form.definitions[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
        assert field["title"][0].isupper(), field_name
        assert (group | field)["description"].endswith("."), field_name
        assert "$ref" in field or field["type"] in {"string", "integer", "number", "boolean", "array"}, field_name


@pytest.mark.req("COM-04", "COM-07")
def test_image_and_flavor_are_menus_of_the_catalogue() -> None:
    form = form_of(CatalogueEntry(create_training_flow, "training"))
    instances = form.definitions["InstanceSpec"]["properties"]
    assert instances["image"]["enum"] == [image.name for image in load_catalogue().images]
    assert instances["flavor"]["enum"] == [flavor.name for flavor in load_catalogue().flavors]


def test_the_flows_own_schema_stays_as_it_is() -> None:
    schema = parameter_schema(create_training_flow)
    finished_form(schema, load_catalogue(), "training")
    assert schema == parameter_schema(create_training_flow)


def test_a_menu_can_be_left_empty_where_empty_is_the_default() -> None:
    schema = parameter_schema(create_training_flow)
    schema.definitions["InstanceSpec"]["properties"]["image"]["default"] = ""
    assert (
        finished_form(schema, load_catalogue(), "training").definitions["InstanceSpec"]["properties"]["image"]["enum"][
            0
        ]
        == ""
    )


def test_a_description_is_shown_as_it_is_written() -> None:
    form = form_of(CatalogueEntry(create_training_flow, "training"))
    assert r"EM_DATASET\_{NAME}" in form.definitions["DatasetSpec"]["properties"]["name"]["description"]
    assert "`makerflow catalogue images`" in form.definitions["InstanceSpec"]["properties"]["image"]["description"]


@pytest.mark.req("COM-04", "TUN-01")
@pytest.mark.parametrize("name", ["create-tuning", "create-tuning-from-template"])
def test_what_a_tuning_cannot_do_without_is_asked_for_right_below_its_algorithm(name: str) -> None:
    form = form_of(ENTRIES[name])
    group = form.properties["spec"].get("$ref", form.properties["spec"].get("allOf", [{}])[0].get("$ref", ""))
    fields = list(form.definitions[group.rpartition("/")[2]]["properties"])
    at = fields.index("algorithm")
    assert fields[at : at + 5] == ["algorithm", "search", "objective", "trainings", "early_stopping"]
    assert fields.index("limits") > at + 4


@pytest.mark.req("COM-04")
def test_a_limit_is_called_the_same_where_a_tuning_is_created_and_where_it_is_resumed() -> None:
    created, resumed = form_of(ENTRIES["create-tuning"]), form_of(ENTRIES["resume-tuning"])
    limits = created.definitions["TrainingsSpec"]["properties"] | created.definitions["ObjectiveSpec"]["properties"]
    for name in resumed.properties.keys() - {"key"}:
        assert resumed.properties[name]["title"] == limits[name]["title"]


@pytest.mark.req("COM-04")
@pytest.mark.parametrize(
    ("name", "group", "titles"),
    [
        ("change-template", "TemplateOverrides", ["Template", "New name"]),
        ("copy-template", "TemplateCopySpec", ["Template to copy", "Name"]),
        ("create-training-from-template", "TemplatedTrainingSpec", ["Template", "Name"]),
        ("create-tuning-from-template", "TemplatedTuningSpec", ["Template", "Name"]),
    ],
)
def test_the_template_that_something_is_made_of_is_asked_for_first(name: str, group: str, titles: list[str]) -> None:
    fields = form_of(ENTRIES[name]).definitions[group]["properties"]
    assert [field["title"] for field in fields.values()][:2] == titles
