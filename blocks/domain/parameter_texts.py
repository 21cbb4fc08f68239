"""How a parameter of a search is written: `lr=DOUBLE[1e-4,1e-1,log]`, and its numbers as text."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from numbers import Real
from typing import Any

from blocks.domain.errors import InvalidInputError

MAX_NUMBER = Decimal("1e15")
"""Whole numbers up to here are exact in every language's floating-point numbers."""
MAX_PLACES = 64
"""Behind the decimal point: what a number of the longest allowed text can have."""

_FORM = (
    "NAME=INT[1,10], NAME=DOUBLE[1e-4,1e-1,log], NAME=DOUBLE[0,1,step=0.1], NAME=DISCRETE[16,32], or "
    "NAME=CATEGORICAL[a,b]"
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
"""What every language reads as a number; Python's own reading also takes 1_000 and digits of other scripts."""
_LOG = {"true": True, "false": False}
_TEXT = re.compile(r"\s*([^=\s]+)\s*=\s*([A-Za-z]+)\s*\[(.*)\]\s*", re.DOTALL)


class ParameterType(StrEnum):
    """What the values of a tuned hyperparameter are."""

    INT = "INT"
    DOUBLE = "DOUBLE"
    DISCRETE = "DISCRETE"
    CATEGORICAL = "CATEGORICAL"


RANGES = (ParameterType.INT, ParameterType.DOUBLE)
"""Those that have a range; the others have a list of values."""


def as_text(value: object) -> object:
    """A number as a person would write it: 0.1, not 0.1000000000000000055; also one of NumPy's."""
    if value is None or isinstance(value, str | bool):
        return "" if value is None else value.strip() if isinstance(value, str) else value
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return "above 1e15" if value > 0 else "below -1e15"  # Python refuses to print some of them
    return str(value) if isinstance(value, Real | Decimal) else value


def as_texts(value: object) -> object:
    """A list of values, also for a text with commas between them, of which the last may end it."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        return parts if parts[-1] else parts[:-1]
    if isinstance(value, list | tuple):
        return [_as_value(item) for item in value]
    return value


def _as_value(item: object) -> object:
    """One of a list, taken as it is: it may hold commas and blanks."""
    return str(item).lower() if isinstance(item, bool) else item if isinstance(item, str) else as_text(item)


def decimal_of(text: str) -> Decimal | None:
    """The number that is written there; None when it is none, or not a finite one."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def named_parameters(value: object) -> object:
    """A list of parameters, also for a mapping of name to the rest; each may be a text such as `lr=DOUBLE[0,1]`."""
    if isinstance(value, Mapping):
        return [
            {**rest, "name": str(name)} if isinstance(rest, Mapping) else parse_parameter(f"{name}={rest}")
            for name, rest in value.items()
        ]
    if isinstance(value, list | tuple):
        return [parse_parameter(item) if isinstance(item, str) else item for item in value]
    return value


def parse_parameter(text: str) -> dict[str, Any]:
    """The fields of a parameter that is written as `lr=DOUBLE[1e-4,1e-1,log]`.

    In the brackets of INT and DOUBLE come min and max, then any of `log`, `step=S`, or S alone.

    Raises:
        InvalidInputError: It is not written so.
    """
    match = _TEXT.fullmatch(text)
    if match is None or match[2].upper() not in list(ParameterType):
        raise InvalidInputError(f"The parameter {text[:200]!r}", "it is not written as a parameter is", f"Use {_FORM}.")
    kind = ParameterType(match[2].upper())
    if kind not in RANGES:
        return {"name": match[1], "type": kind, "values": as_texts(match[3])}
    parts = [part.strip() for part in match[3].split(",")]
    low, high, *rest = [*parts, "", ""][: max(len(parts), 2)]
    fields: dict[str, Any] = {"name": match[1], "type": kind, "min": low, "max": high}
    for part in rest:
        key, value = _option(part)
        if key in fields or not value or (key == "log" and value not in _LOG):
            raise InvalidInputError(f"The parameter {text[:200]!r}", f"{part!r} is not understood", f"Use {_FORM}.")
        fields[key] = _LOG[value] if key == "log" else value
    return fields


def _option(part: str) -> tuple[str, str]:
    """What stands behind min and max: the field, and its value; `log`, and a step without its name, are enough."""
    key, equals, value = (piece.strip() for piece in part.lower().partition("="))
    if equals:
        return (key, value) if key in ("step", "log") else (key, "")
    return ("log", "true") if key == "log" else ("step", key)
