"""Names that nobody has yet."""

from collections.abc import Callable
from itertools import count
from typing import TypeVar

from blocks.domain.errors import AlreadyExistsError
from blocks.domain.spec_values import MAX_NAME_LENGTH
from blocks.registry.reading import Reader

T = TypeVar("T")

_NUMBER_LENGTH = len("-999999")


def under_free_name(free_name: Callable[[], str], create: Callable[[str], T]) -> T:
    """Create something under the first free name, and under the next one when somebody takes it meanwhile.

    Args:
        free_name: Looks for it.
        create: Gets it.

    Raises:
        AlreadyExistsError: The name is free, but something else of what is created is there already.
    """
    while True:
        name = free_name()
        try:
            return create(name)
        except AlreadyExistsError:
            if free_name() == name:
                raise


def free_name(reader: Reader, table: str, base: str) -> str:
    """`base` when no row has this name, else the first free of `base-2`, `base-3`, ...

    At most as long as a name may be, which can cut `base` short. Nothing is reserved: who creates the resource first
    has the name.
    """
    base = base.replace("/", "-")[:MAX_NAME_LENGTH]  # a trial's name, of which a training of its own is to be made
    stem = base[: MAX_NAME_LENGTH - _NUMBER_LENGTH]
    similar = f"SELECT name FROM {table} WHERE name = :base OR (name >= :low AND name < :high)"  # noqa: S608 - a constant
    taken = {row["name"] for row in reader.rows(similar, base=base, low=f"{stem}-", high=f"{stem}.")}
    if base not in taken:
        return base
    return next(name for number in count(2) if (name := f"{stem}-{number}") not in taken)
