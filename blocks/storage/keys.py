"""Which keys can be staged as files, alone and together."""

import re
from collections.abc import Iterable

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath, check_relative_key

# What nearly all keys are; the rules are decided by `check_relative_key`, which takes ten times as long.
_PLAIN = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)
_PLAIN_LENGTH = 255

_SHOWN = 10


def check_key(key: str) -> str:
    """Return `key` when it stays inside any directory it is staged to.

    Raises:
        InvalidInputError: It says which rule the key breaks.
    """
    return key if len(key) <= _PLAIN_LENGTH and _PLAIN.fullmatch(key) else check_relative_key(key)


def check_keys(keys: Iterable[str], path: StoragePath) -> None:
    """Check that all keys can be files of one directory at the same time.

    Raises:
        InvalidInputError: It names the keys that leave the directory, or that are a file and a folder at once.
    """
    known = set(keys)
    refused = []
    for key in sorted(known):
        try:
            check_key(key)
        except InvalidInputError as error:
            refused.append(f"{key!r}: {error.why}")
    if refused:
        raise InvalidInputError(f"{path} holds keys that cannot be staged", _listed(refused), "Rename or move them.")
    clashing = sorted(known.intersection(_folders(known)))
    if clashing:
        raise InvalidInputError(
            f"{path} holds keys that are a file and a folder at once", _listed(clashing), "Rename or move them."
        )


def _folders(keys: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for key in keys:
        parent = key.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return folders


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
