"""Names that nobody has yet."""

from itertools import count

from blocks.domain.spec_values import MAX_NAME_LENGTH
from blocks.registry.reading import Reader

_NUMBER_LENGTH = len("-999999")


def free_name(reader: Reader, table: str, base: str) -> str:
    """`base` when no row has this name, else the first free of `base-2`, `base-3`, ...

    At most as long as a name may be, which can cut `base` short. Nothing is reserved: who creates the resource first
    has the name.
    """
    base = base[:MAX_NAME_LENGTH]
    stem = base[: MAX_NAME_LENGTH - _NUMBER_LENGTH]
    similar = f"SELECT name FROM {table} WHERE name = :base OR (name >= :low AND name < :high)"  # noqa: S608 - a constant
    taken = {row["name"] for row in reader.rows(similar, base=base, low=f"{stem}-", high=f"{stem}.")}
    if base not in taken:
        return base
    return next(name for number in count(2) if (name := f"{stem}-{number}") not in taken)
