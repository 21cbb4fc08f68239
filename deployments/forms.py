"""The forms of the deployments: what Prefect makes of a flow's parameters, with titles and with the catalogue's menus.

The workflow UI draws a form from a JSON schema; the server checks what it is given against the same.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from prefect.utilities.callables import ParameterSchema

from blocks.domain.catalogues import Catalogue, Flavor
from blocks.domain.images import Image

TITLES = {
    "grace_seconds": "Grace period (seconds)",
    "patience_seconds": "Patience (seconds)",
}
"""Prefect calls a form's field as the flow calls its parameter."""

OF_THE_RESOURCE = ("spec", "changes", "key")
"""Parameters that say which resource, or what it shall be."""

_MARKUP = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def finished_form(schema: ParameterSchema, catalogue: Catalogue, resource: str) -> ParameterSchema:
    """The schema with a title for every parameter, menus where a name of the catalogue is asked for, and no nulls.

    Args:
        schema: What Prefect makes of a flow's parameters.
        catalogue: Whose images and flavors can be chosen.
        resource: What kind of thing the flow is about.
    """
    form = schema.model_copy(deep=True)
    for name, field in form.properties.items():
        title = resource if name in OF_THE_RESOURCE else name.replace("_", " ")
        title = f"{resource} to copy" if name == "original" else title
        field["title"] = TITLES.get(name, title.capitalize())
    menus = {"image": _names(catalogue.images), "flavor": _names(catalogue.flavors)}
    for name, field in _fields(form):
        _leave_null_out(field)
        _keep_plain(field)
        if name in menus and field.get("type") == "string":
            empty = [""] if field.get("default") == "" else []
            field["enum"] = empty + menus[name]
    return form


def _leave_null_out(field: dict[str, Any]) -> None:
    """A form draws a tab for null; what is not filled in is not sent, which means the same."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1 and field.get("default", ...) is None:
        del field["anyOf"], field["default"]
        field.update(kinds[0])


def _keep_plain(field: dict[str, Any]) -> None:
    """The UI reads a description as Markdown, for which two underscores at the edges of words are italics."""
    text = field.get("description", "")
    if len(_MARKUP.findall(text)) > 1:
        field["description"] = _MARKUP.sub(r"\_", text)


def _names(entries: Iterable[Image] | Iterable[Flavor]) -> list[str]:
    return [entry.name for entry in entries]


def _fields(form: ParameterSchema) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from form.properties.items()
    for definition in form.definitions.values():
        yield from definition.get("properties", {}).items()
