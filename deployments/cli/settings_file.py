"""The settings behind `-f`, and what comes out of them and the options given beside it."""

import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blocks.domain.errors import InvalidInputError
from deployments.cli import fields
from deployments.cli.settings_options import TRAINING, Settings, SettingsKind

MAX_BYTES = 2**20
"""Of a settings file: a hundred hyperparameters, each as long as allowed, take less."""


def read_file(file: Path, kind: SettingsKind = TRAINING) -> dict[str, Any]:
    """The settings in a YAML or JSON file, in their groups; also under the names that their options have.

    Paths of this machine become absolute, from the file's folder; from the current one when it is `-` (stdin) or a
    device.

    Raises:
        InvalidInputError: It cannot be read, or does not hold settings.
    """
    import yaml

    from deployments.cli.settings_yaml import parse

    try:
        document = parse(_read_text(file))
    except OSError as error:
        raise InvalidInputError(f"-f {file}", error.strerror or str(error), "Give a file that can be read.") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"-f {file}: {error.what}", error.why, error.remedy) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInputError(f"-f {file}", f"it is neither YAML nor JSON: {error}", "Correct the file.") from error
    except RecursionError as error:
        raise InvalidInputError(f"-f {file}", "its brackets are nested too deeply", "Correct the file.") from error
    if not isinstance(document, Mapping):
        raise InvalidInputError(f"-f {file}", "it holds no settings", "Write `name: value` lines.")
    try:
        grouped = _with_pairs(kind.grouped(_renamed(document, kind)))
    except InvalidInputError as error:
        raise InvalidInputError(f"-f {file}: {error.what}", error.why, error.remedy) from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"-f {file}", str(error), "Correct the file.") from error
    on_disk = str(file) != "-" and not file.is_relative_to("/dev")
    return _with_absolute_paths(grouped, file.absolute().parent if on_disk else Path.cwd())


def merged_settings(file: Path | None, settings: Settings, kind: SettingsKind = TRAINING) -> dict[str, Any]:
    """The grouped settings of the file, without what is unset, and what was given beside it on top.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
    """
    from blocks.domain.specs import merge_fields

    given = kind.read(settings)
    base = kind.dropped(read_file(file, kind) if file else {}, given.pop("unset", ()))
    return merge_fields(base, kind.grouped(given))


def settings_over_template(file: Path | None, settings: Settings, kind: SettingsKind = TRAINING) -> dict[str, Any]:
    """The same for what is given beside a template: unset is what the template has.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
    """
    unset = {name: value for name, value in settings.items() if name == "unset"}
    rest = {name: value for name, value in settings.items() if name != "unset"}
    return merged_settings(file, rest, kind) | kind.read(unset)


def beside_template(
    template: str, file: Path | None, settings: Settings, kind: SettingsKind = TRAINING
) -> tuple[str, dict[str, Any]]:
    """The id of a template, by its name or id, and the same beside it: named, when nothing has a name.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
        NotFoundError: There is no such template.
    """
    from deployments.cli.access import open_registry

    found = open_registry().templates.summary(template)
    return found.id, {"name": made_name(found.name)} | settings_over_template(file, settings, kind)


def named_settings(file: Path | None, settings: Settings, kind: SettingsKind = TRAINING) -> dict[str, Any]:
    """The same for what is made of no template: named, when neither has a name.

    Raises:
        InvalidInputError: A text, or the file, has not the form that is needed.
    """
    from blocks.domain.spec_values import NAME_PATTERN

    merged = merged_settings(file, settings, kind)
    stem = str(merged.get("experiment") or "default")
    if not re.fullmatch(NAME_PATTERN, stem):
        stem = "default"  # the experiment is refused, not a name made of it
    return {"name": made_name(stem), "algorithm": {}} | merged


def made_name(stem: str) -> str:
    """A name that nobody has: the stem and a short random end."""
    return f"{stem[:54]}-{secrets.token_hex(4)}"


def _read_text(file: Path) -> str:
    if str(file) == "-":
        read = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with file.open("rb") as stream:
            read = stream.read(MAX_BYTES + 1)
    if len(read) > MAX_BYTES:
        raise InvalidInputError("its size", "settings are at most 1 MiB", "Give a file of settings.")
    return read.decode()


def _renamed(document: Mapping[Any, Any], kind: SettingsKind) -> dict[str, Any]:
    by_option = {option.option.removeprefix("--"): option.field for option in kind.options}
    read = {option.field: option.read for option in kind.options if option.of_file and option.read}
    groups, known = kind.spec().groups, set(kind.spec().known_names())
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in ((str(key), value) for key, value in document.items()):
        plain = name.replace("-", "_")
        is_group = plain in groups and isinstance(value, Mapping)
        field = by_option.get(name.replace("_", "-"), plain if plain in known else name)
        field = plain if is_group else field
        if field in found:
            both = f"{names[field]} and {name}"
            raise InvalidInputError(both, "they are one setting, given twice", "Keep one of the two.")
        names[field] = name
        found[field] = read[field](name, value) if field in read and isinstance(value, str) else value
    return found


def _with_pairs(grouped: dict[str, Any]) -> dict[str, Any]:
    """The same, with `NAME=VALUE` texts read as the options read them."""
    for group, member, option, value in (
        ("algorithm", "hyperparameters", "--hp", "value"),
        ("inputs", "datasets", "--dataset", "path"),
    ):
        held = grouped.get(group)
        if isinstance(held, Mapping) and member in held:
            grouped[group] = {**held, member: _read_pairs(option, held[member], value)}
    search = grouped.get("search")
    if isinstance(search, Mapping) and "parameters" in search:
        grouped["search"] = {**search, "parameters": fields.parameters("--param", search["parameters"])}
    if "tags" in grouped:
        grouped["tags"] = _read_pairs("--tag", grouped["tags"], "value")
    return grouped


def _read_pairs(option: str, given: Any, value: str) -> Any:
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        given = [{"name": str(name), value: content} for name, content in given.items()]
    if not isinstance(given, list):
        return given
    read = [fields.pairs(option, [one], value=value)[0] if isinstance(one, str) else one for one in given]
    for pair in read:
        if isinstance(pair, Mapping) and not isinstance(pair.get(value, ""), str | int | float):
            name, content = pair.get("name"), pair[value]
            kind = "empty (null)" if content is None else f"a {type(content).__name__}"
            raise InvalidInputError(f"{option} {name}", f"its {value} is {kind}, not a text or a number", "Quote it.")
    return read


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
