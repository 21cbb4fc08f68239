"""Settings without their groups: `workers=2` for `instances={"workers": 2}`, and one set of settings over another."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from blocks.domain.errors import InvalidInputError
from blocks.domain.parameters import named_parameters
from blocks.domain.spec_values import named_paths, named_values

Groups = Mapping[str, Mapping[str, str]]
"""Group to (flat name to field of the group)."""

GROUPS: Groups = {
    "algorithm": {
        "provided": "provided",
        "entry_point": "entry_point",
        "hyperparameters": "hyperparameters",
    },
    "instances": {"image": "image", "flavor": "flavor", "workers": "workers"},
    "inputs": {"datasets": "datasets", "checkpoint_input": "checkpoint"},
    "outputs": {"output": "path", "checkpoint_output": "checkpoint"},
    "metrics": {"metric_expressions": "expressions", "metrics_of_all_workers": "all_workers"},
    "limits": {"max_minutes": "max_minutes", "storage_gb": "storage_gb", "log_management": "log_management"},
}
"""The flat names that stand beside the groups of a training's settings."""

NAMED = ("hyperparameters", "datasets", "tags", "parameters")
"""Lists of named things: each can be set, changed and removed by itself."""

_READ: dict[str, Callable[[object], object]] = {"datasets": named_paths, "parameters": named_parameters}
"""How such a list is read, where it is not one of names with values."""

_ALONE = ("description", "experiment", "tags")


def group_fields(values: Mapping[str, Any], groups: Groups = GROUPS) -> dict[str, Any]:
    """Move flat names (`entry_point`, `workers`, `output`, ...) into their groups; grouped ones stay as they are.

    `algorithm` may be a path, and `max_time_seconds` stands for `max_minutes`.

    Raises:
        ValueError: A setting is given both flat and in its group, or a group is none.
    """
    grouped = dict(values)
    if isinstance(grouped.get("algorithm"), str):
        grouped["algorithm"] = {"path": grouped["algorithm"]}
    if "max_time_seconds" in grouped:
        if "max_minutes" in grouped:
            raise ValueError("the maximum time is given twice, as max_time_seconds and as max_minutes")
        grouped["max_minutes"] = minutes_of(grouped.pop("max_time_seconds"))
    for group, names in groups.items():
        given = {names[flat]: grouped.pop(flat) for flat in list(names) if flat in grouped}
        if not given:
            continue
        present = _group(group, grouped.get(group))
        if twice := sorted(given.keys() & present.keys()):
            raise ValueError(f"{group}.{twice[0]} is given twice, beside its group and in it")
        grouped[group] = present | given
    return grouped


def merge_fields(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`overrides` over `base`, group by group; lists of named things name by name (an override's order comes last).

    One's own code in the place of a provided algorithm, or the other way round, takes the place of all of it.
    """
    merged = dict(base)
    for key, value in overrides.items():
        value = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        current = merged.get(key)
        if key == "algorithm" and isinstance(current, Mapping) and isinstance(value, Mapping):
            current = _of_the_same_kind(current, value)
        if key in NAMED:
            value, current = (_listed(key, items) for items in (value, current or ()))
            given = [_name_of(item) for item in value]
            merged[key] = [item for item in current if _name_of(item) not in given] + value
        elif isinstance(current, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_fields(current, value)
        else:
            merged[key] = value
    return merged


def drop_fields(settings: Mapping[str, Any], names: Iterable[str], groups: Groups = GROUPS) -> dict[str, Any]:
    """Grouped settings without those of these flat names: `workers`, or of a list of named things `tags.team`.

    Raises:
        InvalidInputError: There is no such setting, or nothing of this name in its list.
    """
    kept, places = dict(settings), _places(groups)
    for name in names:
        flat, _, item = name.partition(".")
        place = places.get(flat)
        if place is None or (item and flat not in NAMED):
            raise InvalidInputError(f"unset {name!r}", "there is no such setting", f"One of: {', '.join(places)}.")
        holder = kept
        for group in place[:-1]:
            holder[group] = holder = dict(holder.get(group) or {})
        if item:
            holder[place[-1]] = _without(name, flat, item, holder.get(place[-1]) or ())
        else:
            holder.pop(place[-1], None)
    return kept


def flat_names(settings: Mapping[str, Any]) -> Iterator[str]:
    """The flat names of grouped settings, as `drop_fields` takes them."""
    for flat, place in _places(GROUPS).items():
        holder: Any = settings
        for part in place:
            holder = holder.get(part) if isinstance(holder, Mapping) else None
        if flat in NAMED:
            yield from (f"{flat}.{_name_of(item)}" for item in _listed(flat, holder or ()))
        elif holder is not None:
            yield flat


def minutes_of(seconds: object) -> object:
    """An unusable value stays as it is, to be refused where its field says what is allowed."""
    return seconds / 60 if isinstance(seconds, int | float) and not isinstance(seconds, bool) else seconds


def _places(groups: Groups) -> dict[str, tuple[str, ...]]:
    """Flat name to where its value is."""
    return {
        **{flat: (group, field) for group, names in groups.items() for flat, field in names.items()},
        "algorithm": ("algorithm", "path"),
        **{alone: (alone,) for alone in _ALONE},
    }


def _of_the_same_kind(algorithm: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What of an algorithm stays beside the overrides of it."""
    own = any(overrides.get(name) for name in ("path", "entry_point"))
    provided = overrides.get("provided", "own" if own else None)
    if provided == "own":
        return {**algorithm, "provided": "own"}
    gone = ("path", "entry_point") if provided and not own else ()
    return {name: value for name, value in algorithm.items() if name not in gone}


def _without(name: str, kind: str, item: str, items: Iterable[Any]) -> list[Any]:
    listed = _listed(kind, items)
    kept = [one for one in listed if _name_of(one) != item]
    if len(kept) == len(listed):
        there = ", ".join(str(_name_of(one)) for one in listed) or "none"
        raise InvalidInputError(f"unset {name!r}", "there is none of this name", f"The {kind} are: {there}.")
    return kept


def _listed(key: str, items: object) -> list[Any]:
    items = _READ.get(key, named_values)(items)
    many = items if isinstance(items, list | tuple) else [items]
    return [item.model_dump() if isinstance(item, BaseModel) else item for item in many]


def _name_of(item: Any) -> object:
    return item.get("name") if isinstance(item, Mapping) else item


def _group(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if value is None or isinstance(value, Mapping):
        return dict(value or {})
    raise ValueError(f"{name} is no group of settings: {str(value)[:100]!r}")
