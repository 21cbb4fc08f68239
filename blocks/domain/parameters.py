"""The space that a tuning searches: hyperparameters with ranges, and the points of a grid over them."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from blocks.domain.environment import environment_name
from blocks.domain.errors import InvalidInputError
from blocks.domain.parameter_texts import (
    MAX_NUMBER,
    MAX_PLACES,
    RANGES,
    ParameterType,
    as_text,
    as_texts,
    decimal_of,
    named_parameters,
    parse_parameter,
)
from blocks.domain.spec_groups import HYPERPARAMETER_NAME, MAX_HYPERPARAMETERS
from blocks.domain.spec_values import Spec, refuse_twice

__all__ = [
    "MAX_VALUES",
    "RANGES",
    "ParameterSpec",
    "ParameterType",
    "Parameters",
    "grid_point",
    "grid_size",
    "named_parameters",
    "parse_parameter",
    "unfit",
]

MAX_VALUES = 1000

_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)
"""Of the arithmetic of grids: twice what a step and a bound together have, whatever the thread's own context is."""
_DOUBLE = Context(prec=17, rounding=ROUND_HALF_EVEN)
"""What a double tells apart: powers of a step are not written with more digits."""
_SLACK = Decimal("1e-12")
"""Relative: so near to max, a power of a step such as 3.1622776601683795 is max."""
_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")
"""What neither an argument nor a variable can carry, and what no encoding has."""

Number = Annotated[str, Field(max_length=MAX_PLACES), BeforeValidator(as_text)]
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
        "each value is the one before times the step.",
        examples=["0.1"],
    )
    log: bool = Field(
        default=False,
        title="Log scale",
        description="INT, DOUBLE: each power of ten is as likely as the next one, as suits learning rates.",
    )
    values: Annotated[tuple[str, ...], BeforeValidator(as_texts)] = Field(
        default=(),
        max_length=MAX_VALUES,
        title="Values",
        description=f"DISCRETE, CATEGORICAL: at most {MAX_VALUES:,} values. In files also text with commas in between.",
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
        return _plain(self._on_step(number)) if self.type in RANGES else self.values[number]

    def count(self) -> int:
        """How many values a grid has of it; exact however many there are.

        Raises:
            InvalidInputError: A range has no step.
        """
        return self._last() + 1 if self.type in RANGES else len(self.values)

    def size(self) -> int | None:
        """How many values it has whatever searches it; None for a DOUBLE without a step, which has no end of them."""
        if self.type not in RANGES or self.distance:
            return self.count()
        return int(self.high - self.low) + 1 if self.type is ParameterType.INT else None

    def member(self, number: int) -> str:
        """Of those values the one of this number, from 0; of a DOUBLE without a step the lowest."""
        if self.type not in RANGES or self.distance:
            return self.point(number)
        return self.text(self.low + number)

    def longest(self) -> str:
        """The longest of its values, as an entry point gets them; of a range one as long as any."""
        if self.type in RANGES:
            return "-" + "8" * (MAX_PLACES + 20)
        return max(self.values, key=lambda value: len(json.dumps(value, ensure_ascii=False).encode()))

    def nearest(self, value: float) -> int:
        """The number of the value of a grid that is nearest; on a log scale by ratio.

        Raises:
            InvalidInputError: A range has no step.
        """
        step = self._grid_step()
        if self.log:
            near = round(math.log(max(value, 5e-324) / float(self.low)) / float(step.ln(_DOUBLE)))
        else:
            near = round(_EXACT.divide(_EXACT.subtract(Decimal(value), self.low), step))
        return min(max(near, 0), self._last())

    def text(self, value: Decimal | float | str) -> str:
        """A value as an entry point gets it; within the range also where a double has not all digits of an end."""
        if isinstance(value, str):
            return value
        if isinstance(value, float):
            value = Decimal(round(value) if self.type is ParameterType.INT else float.__repr__(value + 0.0))
            if self.type is ParameterType.DOUBLE and self.low <= value <= self.high:
                text = repr(float(value))
                return _plain(Decimal(text)) if text.startswith("-") else text  # argparse takes -1e-05 for an option
        return _plain(min(max(value, self.low), self.high))

    def holds(self, text: str) -> bool:
        """Whether a value lies within the range, or is one of the values; whether it is on a step does not count."""
        if self.type is ParameterType.CATEGORICAL:
            return text in self.values
        value = decimal_of(text)
        if value is None:
            return False
        if self.type is ParameterType.DISCRETE:
            return any(Decimal(one) == value for one in self.values)
        whole = self.type is ParameterType.DOUBLE or value == value.to_integral_value()
        return whole and self.low <= value <= self.high

    def _last(self) -> int:
        """The number of the last value of a grid."""
        step = self._grid_step()
        if not self.log:
            return int(_EXACT.divide_int(_EXACT.subtract(self.high, self.low), step))
        most = self._most()
        near = int(_EXACT.divide(_EXACT.ln(_EXACT.divide(most, self.low)), _EXACT.ln(step)))
        return near + 1 if self._power(near + 1) <= most else near if self._power(near) <= most else near - 1

    def _most(self) -> Decimal:
        """Max, with the slack that powers of a rounded step need."""
        return self.high if self.type is ParameterType.INT else _EXACT.multiply(self.high, 1 + _SLACK)

    def _power(self, number: int) -> Decimal:
        return _EXACT.multiply(self.low, _EXACT.power(self._grid_step(), number))

    def _on_step(self, number: int) -> Decimal:
        if not self.log:
            return _EXACT.fma(self._grid_step(), number, self.low)
        value = self._power(number)
        if self.type is ParameterType.INT or number == 0:
            return value
        return self.high if value >= _EXACT.multiply(self.high, 1 - _SLACK) else _DOUBLE.plus(value)

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
        if any(not value or len(value) > 4096 or _UNPRINTABLE.search(value) for value in self.values):
            raise ValueError(f"{where}: a value has 1 to 4,096 characters, and neither NUL nor half a character")
        discrete = self.type is ParameterType.DISCRETE
        seen: dict[Decimal | str, str] = {}
        for value in self.values:
            key = self._number("values", value) if discrete else value
            if key in seen:
                both = f"{value!r}" if seen[key] == value else f"{seen[key]!r} and {value!r}"
                raise ValueError(f"{where}: a value is given twice: {both}")
            seen[key] = value

    def _number(self, field: str, text: str) -> Decimal:
        number = decimal_of(text)
        where = f"parameter {self.name!r}: {field} {text[:100]!r}"
        if number is None or number.copy_abs() > MAX_NUMBER:
            scale = ", and a log scale is written log" if field == "step" else ""
            raise ValueError(f"{where} is no number from -1e15 to 1e15{scale}")
        if number and _places(number) > MAX_PLACES:
            raise ValueError(f"{where} has more than {MAX_PLACES} digits behind the decimal point")
        return number


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


def grid_size(parameters: Sequence[ParameterSpec]) -> int:
    """How many points the grid over all parameters has; exact however many there are.

    Raises:
        InvalidInputError: A range has no step.
    """
    return math.prod(parameter.count() for parameter in parameters)


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


def _places(number: Decimal) -> int:
    """How many digits stand behind the decimal point."""
    exponent = number.normalize(_EXACT).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _plain(value: Decimal) -> str:
    """Without an exponent, and without zeros at its end."""
    return format(value.normalize(_EXACT), "f") if value else "0"
