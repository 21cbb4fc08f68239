"""What a query asks for, as a tree: the one form that every store translates into its own language."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A field has this value, or begins with it; the empty beginning means that it has any."""

    name: str
    value: str
    is_prefix: bool = False


@dataclass(frozen=True)
class Words:
    """The body holds these words next to each other, in this order; the last may be a mere beginning."""

    text: str
    is_prefix: bool = False


@dataclass(frozen=True)
class Kept:
    """It was kept in this time: microseconds since 1970, from `low` on, before `high`; None for no bound."""

    low: int | None = None
    high: int | None = None


@dataclass(frozen=True)
class AllOf:
    """All of these hold; with none it always does."""

    parts: "tuple[Condition, ...]" = ()


@dataclass(frozen=True)
class AnyOf:
    """At least one of these holds."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True)
class NotSo:
    """This does not hold."""

    part: "Condition"


Condition = Field | Words | Kept | AllOf | AnyOf | NotSo
