"""Values as the registry keeps them: ids that are made once, the time, and text."""

import re
import secrets
import time

from blocks.domain.errors import InvalidInputError

ID_PATTERN = re.compile(r"[a-z]{3}-[a-z0-9-]{1,36}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A new id such as `trn-01jd8x6n3gv5e2q9r7w4y0kz1t`: later ones sort after earlier ones, two are never the same.

    Args:
        prefix: Three lower-case letters that say what it is the id of.
    """
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return f"{prefix}-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def check_id(id: str, prefix: str) -> str:
    """The id itself, when it has the right form.

    Raises:
        InvalidInputError: It has not.
    """
    if not (id.startswith(f"{prefix}-") and ID_PATTERN.fullmatch(id)):
        raise InvalidInputError(
            f"id {id!r}", "it has not the form of an id", f"Use {prefix}- and at most 36 of a-z, 0-9 and '-'."
        )
    return id


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def storable(text: str) -> str:
    """Text as both databases take it: PostgreSQL refuses NUL, and neither can encode half a surrogate pair."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
