"""The forms of the deployments: what Prefect makes of a flow's parameters, with titles and with the catalogue's menus.

The workflow UI draws a form from a JSON schema; the server checks what it is given against the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prefect.utilities.callables import ParameterSchema

from blocks.domain.catalogues import Catalogue, Flavor
from blocks.domain.images import Image

TITLES = {
    "spec": "Settings",
    "changes": "Settings",
    "key": "Name or id",
    "grace_seconds": "Grace period (seconds)",
}
"""Prefect calls a form's field as the flow calls its parameter."""


def finished_form(schema: ParameterSchema, catalogue: Catalogue) -> ParameterSchema:
    """The schema with a title for every parameter, and with menus where a name of the catalogue is asked for."""
    form = schema.model_copy(deep=True)
    for name, field in form.properties.items():
        field["title"] = TITLES.get(name, name.replace("_", " ").capitalize())
    menus = {"image": _names(catalogue.images), "flavor": _names(catalogue.flavors)}
    for name, field in _fields(form.definitions):
        if name in menus and field.get("type") == "string":
            empty = [""] if field.get("default") == "" else []
            field["enum"] = empty + menus[name]
    return form


def _names(entries: Iterable[Image] | Iterable[Flavor]) -> list[str]:
    return [entry.name for entry in entries]


def _fields(definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for definition in definitions.values():
        yield from definition.get("properties", {}).items()
