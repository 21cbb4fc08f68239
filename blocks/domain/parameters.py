"""The space that a tuning searches: hyperparameters with ranges, and the points of a grid over them."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation, localcontext
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from blocks.domain.environment import environment_name
from blocks.domain.errors import InvalidInputError
from blocks.domain.spec_groups import HYPERPARAMETER_NAME, MAX_HYPERPARAMETERS
from blocks.domain.spec_values import Spec, refuse_twice

MAX_POINTS = 1_000_000
"""Of a grid: above it no tuning could come to its end."""
MAX_VALUES = 1000
MAX_NUMBER = Decimal("1e15")
"""Whole numbers up to here are exact in every language's floating-point numbers."""

_DIGITS = 60
"""Of the arithmetic of grids: more than any step and bound together have."""


class ParameterType(StrEnum):
    """What the values of a tuned hyperparameter are."""

    INT = "INT"
    DOUBLE = "DOUBLE"
    DISCRETE = "DISCRETE"
    CATEGORICAL = "CATEGORICAL"


RANGES = (ParameterType.INT, ParameterType.DOUBLE)
"""Those that have a range; the others have a list of values."""


def _as_text(value: object) -> object:
    """A number as a person would write it: 0.1, not 0.1000000000000000055."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return "" if value is None else value
    return repr(value) if isinstance(value, float) else str(value)


def _as_texts(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return [str(item).lower() if isinstance(item, bool) else _as_text(item) for item in value]
    return value


Number = Annotated[str, BeforeValidator(_as_text), Field(max_length=64)]
"""A number as text, so that decimal fractions stay what they are; empty for none."""


class ParameterSpec(Spec):
    """A hyperparameter that is searched: a range of numbers, or a list of values."""

    name: str = Field(
        max_length=128,
        title="Name",
        description="Name of the hyperparameter, given to the entry point as --{name} {value}.",
        examples=["lr"],
    )
    type: ParameterType = Field(
        default=ParameterType.DOUBLE,
        title="Type",
        description="INT or DOUBLE with min and max; DISCRETE (numbers) or CATEGORICAL (texts) with values.",
    )
    min: Number = Field(default="", title="Min", description="INT, DOUBLE: the lowest value.", examples=["0.0001"])
    max: Number = Field(default="", title="Max", description="INT, DOUBLE: the highest value.", examples=["0.1"])
    step: Number = Field(
        default="",
        title="Step",
        description="INT, DOUBLE: the distance between values; a grid needs it (INT: 1 when empty). On a log scale "
        "each value of a grid is the one before times the step.",
        examples=["0.1"],
    )
    log: bool = Field(
        default=False, title="Log scale", description="INT, DOUBLE: as many values below as above the geometric mean."
    )
    values: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = Field(
        default=(),
        max_length=MAX_VALUES,
        title="Values",
        description=f"DISCRETE, CATEGORICAL: at most {MAX_VALUES} values; as text with commas between them, or a list.",
        examples=[["16", "32", "64"]],
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not HYPERPARAMETER_NAME.fullmatch(self.name):
            raise ValueError(
                f"parameter {self.name!r}: a name is a letter or '_', then letters, digits, '_', '-' or '.'"
            )
        if self.type in RANGES:
            self._check_range()
        else:
            self._check_values()
        return self

    @property
    def low(self) -> Decimal:
        """The lowest value of a range."""
        return self._number("min", self.min)

    @property
    def high(self) -> Decimal:
        """The highest value of a range."""
        return self._number("max", self.max)

    @property
    def distance(self) -> Decimal | None:
        """The step; None when there is none. Whole numbers have one, unless their scale is logarithmic."""
        if self.step:
            return self._number("step", self.step)
        return Decimal(1) if self.type is ParameterType.INT and not self.log else None

    def points(self) -> Iterator[str]:
        """The values that a grid has of it, in their order, as an entry point gets them.

        Raises:
            InvalidInputError: A range has no step.
        """
        return (self.point(number) for number in range(self.count()))

    def point(self, number: int) -> str:
        """The value of this number, from 0.

        Raises:
            InvalidInputError: A range has no step.
        """
        return self.text(self._decimal(number)) if self.type in RANGES else self.values[number]

    def count(self) -> int:
        """How many values a grid has of it; at most one more than `MAX_POINTS`.

        Raises:
            InvalidInputError: A range has no step.
        """
        if self.type not in RANGES:
            return len(self.values)
        step = self._grid_step()
        if not self.log:
            return min(int((self.high - self.low) / step), MAX_POINTS) + 1
        return sum(1 for _ in itertools.takewhile(lambda n: self._decimal(n) <= self.high, range(MAX_POINTS + 1)))

    def text(self, value: Decimal | float | str) -> str:
        """A value as an entry point gets it."""
        if isinstance(value, float):
            return str(round(value)) if self.type is ParameterType.INT else repr(value)
        return _plain(value) if isinstance(value, Decimal) else value

    def holds(self, text: str) -> bool:
        """Whether a value lies within the range, or is one of the values; whether it is on a step does not count."""
        if self.type is ParameterType.CATEGORICAL:
            return text in self.values
        try:
            value = Decimal(text)
        except InvalidOperation:
            return False
        if self.type is ParameterType.DISCRETE:
            return any(Decimal(one) == value for one in self.values)
        whole = self.type is ParameterType.DOUBLE or value == value.to_integral_value()
        return value.is_finite() and whole and self.low <= value <= self.high

    def _decimal(self, number: int) -> Decimal:
        step = self._grid_step()
        with localcontext(prec=_DIGITS):
            return self.low * step**number if self.log else self.low + step * number

    def _grid_step(self) -> Decimal:
        step = self.distance
        if step is None:
            hint = "10, for a tenfold value each time" if self.log else "0.1"
            raise InvalidInputError(
                f"The parameter {self.name!r} has no step", "a GRID needs one", f"Give a step, e.g. {hint}."
            )
        return step

    def _check_range(self) -> None:
        where = f"parameter {self.name!r}"
        if self.values:
            raise ValueError(f"{where}: {self.type} has min and max, not values")
        if not self.min or not self.max:
            raise ValueError(f"{where}: {self.type} needs both min and max")
        low, high, step = self.low, self.high, self.distance
        if high < low:
            raise ValueError(f"{where}: max {self.max} is below min {self.min}")
        if step is not None and step <= 0:
            raise ValueError(f"{where}: step {self.step} is not above 0")
        if self.log and low <= 0:
            raise ValueError(f"{where}: a log scale needs min above 0, and it is {self.min}")
        if self.log and step is not None and step <= 1:
            raise ValueError(f"{where}: on a log scale the step is a factor above 1, and it is {self.step}")
        if self.type is ParameterType.INT:
            self._check_whole(low, high, step)

    def _check_whole(self, *numbers: Decimal | None) -> None:
        for number in numbers:
            if number is not None and number != number.to_integral_value():
                raise ValueError(f"parameter {self.name!r}: INT has whole numbers, and {number} is none")

    def _check_values(self) -> None:
        where = f"parameter {self.name!r}"
        if self.min or self.max or self.step or self.log:
            raise ValueError(f"{where}: {self.type} has values, not min, max, step or log")
        if not self.values:
            raise ValueError(f"{where}: {self.type} needs values, e.g. 16,32,64")
        if any(not value or len(value) > 4096 or "\0" in value for value in self.values):
            raise ValueError(f"{where}: a value has 1 to 4,096 characters, and no NUL")
        known = [self._number("values", value) for value in self.values] if self._is_discrete else self.values
        if len(set(known)) < len(known):
            raise ValueError(f"{where}: a value is given twice")

    @property
    def _is_discrete(self) -> bool:
        return self.type is ParameterType.DISCRETE

    def _number(self, field: str, text: str) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or abs(number) > MAX_NUMBER:
            raise ValueError(f"parameter {self.name!r}: {field} {text!r} is no number from -1e15 to 1e15")
        return number


def named_parameters(value: object) -> object:
    """A list of parameters, also for a mapping of name to the rest; each may be a text such as `lr=DOUBLE[0,1]`."""
    if isinstance(value, Mapping):
        return [
            {"name": str(name), **rest} if isinstance(rest, Mapping) else parse_parameter(f"{name}={rest}")
            for name, rest in value.items()
        ]
    if isinstance(value, list | tuple):
        return [parse_parameter(item) if isinstance(item, str) else item for item in value]
    return value


def _unique(value: tuple[ParameterSpec, ...]) -> tuple[ParameterSpec, ...]:
    names = [parameter.name for parameter in value]
    refuse_twice("the parameters", names, [f"EM_HP_{environment_name(name)}" for name in names])
    return value


Parameters = Annotated[
    tuple[ParameterSpec, ...],
    BeforeValidator(named_parameters),
    AfterValidator(_unique),
    Field(min_length=1, max_length=MAX_HYPERPARAMETERS),
]

_FORM = (
    "NAME=INT[1,10], NAME=DOUBLE[1e-4,1e-1,log], NAME=DOUBLE[0,1,step=0.1], NAME=DISCRETE[16,32], or "
    "NAME=CATEGORICAL[a,b]"
)
_TEXT = re.compile(r"\s*([^=\s]+)\s*=\s*([A-Za-z]+)\s*\[(.*)\]\s*", re.DOTALL)


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
    parts = [part.strip() for part in match[3].split(",")]
    if kind not in RANGES:
        return {"name": match[1], "type": kind, "values": [part for part in parts if part]}
    low, high, *rest = [*parts, "", ""][: max(len(parts), 2)]
    fields: dict[str, Any] = {"name": match[1], "type": kind, "min": low, "max": high}
    for part in rest:
        key, _, value = part.partition("=") if "=" in part else ("step" if part != "log" else part, "=", part)
        if key.strip() not in ("step", "log") or key.strip() in fields:
            raise InvalidInputError(f"The parameter {text[:200]!r}", f"{part!r} is not understood", f"Use {_FORM}.")
        fields[key.strip()] = value.strip() if key.strip() == "step" else value.strip().lower() in ("log", "true")
    return fields


def grid_size(parameters: Sequence[ParameterSpec]) -> int:
    """How many points the grid over all parameters has.

    Raises:
        InvalidInputError: A range has no step, or there are more points than `MAX_POINTS`.
    """
    size = math.prod(parameter.count() for parameter in parameters)
    if size > MAX_POINTS:
        raise InvalidInputError(
            f"The grid has more than {MAX_POINTS:,} points",
            "no tuning comes to its end",
            "Use larger steps, or RANDOM.",
        )
    return size


def grid_point(parameters: Sequence[ParameterSpec], number: int) -> dict[str, str]:
    """The point of this number, from 0, in the order of `itertools.product`: the last parameter changes first."""
    point: dict[str, str] = {}
    for parameter in reversed(parameters):
        number, index = divmod(number, parameter.count())
        point[parameter.name] = parameter.point(index)
    return {parameter.name: point[parameter.name] for parameter in parameters}


def unfit(parameters: Sequence[ParameterSpec], point: Mapping[str, str]) -> str:
    """Why a point does not belong to the space; empty when it does."""
    names = {parameter.name for parameter in parameters}
    if missing := sorted(names - point.keys()):
        return f"it has no {_listed(missing)}"
    if further := sorted(point.keys() - names):
        return f"it has {_listed(further)}, which the space has not"
    for parameter in parameters:
        if not parameter.holds(point[parameter.name]):
            return f"{parameter.name} = {point[parameter.name]} lies outside of the space"
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _plain(value: Decimal) -> str:
    """Without an exponent, and without zeros at its end."""
    text = format(value.normalize(), "f")
    return "0" if text == "-0" else text
