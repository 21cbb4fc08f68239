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
    "max_failed_trainings": "Maximum failed trainings",
    "max_trainings": "Maximum trainings",
    "max_tuning_minutes": "Maximum tuning time (minutes)",
    "patience_seconds": "Patience (seconds)",
}
"""Prefect calls a form's field as the flow calls its parameter."""

OF_THE_RESOURCE = ("spec", "changes", "key")
"""Parameters that say which resource, or what it shall be."""

OF_A_TUNING = ("search", "objective", "trainings", "early_stopping")
"""What is asked for right below the algorithm, before all that may be left as it is."""

_MARKUP = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def finished_form(schema: ParameterSchema, catalogue: Catalogue, resource: str) -> ParameterSchema:
    """The schema with titles, fields in their order, menus where a name of the catalogue is asked for, and no nulls.

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
    for definition in form.definitions.values():
        definition["properties"] = _in_order(definition.get("properties", {}))
    menus = {"image": _names(catalogue.images), "flavor": _names(catalogue.flavors)}
    for name, field in _fields(form):
        _leave_null_out(field)
        _keep_plain(field)
        if name in menus and field.get("type") == "string":
            empty = [""] if field.get("default") == "" else []
            field["enum"] = empty + menus[name]
    return form


def _in_order(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as they are filled in; pydantic has those of a base class first, wherever they are used."""
    own = {name: field for name, field in fields.items() if name in OF_A_TUNING}
    if "algorithm" not in fields or not own:
        return fields
    others = [name for name in fields if name not in own]
    at = others.index("algorithm") + 1
    return {name: fields[name] for name in (*others[:at], *own, *others[at:])}


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
