"""The settings behind `-f`, and what comes out of them and the options given beside it."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blocks.domain.errors import InvalidInputError
from deployments.cli import fields
from deployments.cli.settings_options import SETTING_OPTIONS, Settings, read_settings


def read_file(file: Path) -> dict[str, Any]:
    """The settings in a YAML or JSON file, in their groups; also under the names that their options have.

    Paths of this machine become absolute, from the file's folder.

    Raises:
        InvalidInputError: It cannot be read, or does not hold settings.
    """
    import yaml

    from blocks.domain.specs import group_fields

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"-f {file}", error.strerror or str(error), "Give a file that can be read.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"-f {file}", f"it is neither YAML nor JSON: {error}", "Correct the file.") from error
    if not isinstance(document, Mapping):
        raise InvalidInputError(f"-f {file}", "it holds no settings", "Write `name: value` lines.")
    try:
        grouped = group_fields(dict(_renamed(document)))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"-f {file}", str(error), "Correct the file.") from error
    return _with_absolute_paths(grouped, file.absolute().parent)


def training_settings(file: Path | None, settings: Settings) -> dict[str, Any]:
    """The grouped settings of the file, what was given beside it on top; named, when neither has a name.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
    """
    from blocks.domain.specs import group_fields, merge_fields

    base = read_file(file) if file else {}
    merged = merge_fields(base, group_fields(read_settings(settings)))
    stem = str(merged.get("experiment") or "default")
    return {"name": made_name(stem), "algorithm": {}} | merged


def made_name(stem: str) -> str:
    """A name that nobody has: the stem and a short random end."""
    return f"{stem[:54]}-{secrets.token_hex(4)}"


def _renamed(document: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    by_option = {option.option.removeprefix("--"): option for option in SETTING_OPTIONS}
    for key, value in document.items():
        option = by_option.get(str(key).replace("_", "-"))
        if option is None:
            yield str(key), value
        elif option.field == "max_time_seconds" and isinstance(value, str):
            yield option.field, fields.seconds(str(key), value)
        else:
            yield option.field, value


def _with_absolute_paths(grouped: dict[str, Any], folder: Path) -> dict[str, Any]:
    def absolute(name: str, value: Any) -> Any:
        return fields.storage_path(name, value, folder) if isinstance(value, str) and value else value

    for group, member in (
        ("algorithm", "path"),
        ("inputs", "checkpoint"),
        ("outputs", "path"),
        ("outputs", "checkpoint"),
    ):
        held = grouped.get(group)
        if isinstance(held, Mapping) and member in held:
            grouped[group] = {**held, member: absolute(f"{group}.{member}", held[member])}
    inputs = grouped.get("inputs")
    if isinstance(inputs, Mapping) and "datasets" in inputs:
        grouped["inputs"] = {**inputs, "datasets": _absolute_datasets(inputs["datasets"], absolute)}
    return grouped


def _absolute_datasets(datasets: Any, absolute: Callable[[str, Any], Any]) -> Any:
    if isinstance(datasets, Mapping):
        return [{"name": str(name), "path": absolute(f"dataset {name}", path)} for name, path in datasets.items()]
    if not isinstance(datasets, list):
        return datasets
    return [
        d | {"path": absolute("dataset", d.get("path"))} if isinstance(d, dict) and "path" in d else d for d in datasets
    ]
