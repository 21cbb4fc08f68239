"""One object to download, pinned to the version that was planned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blocks.domain.errors import InputChangedError
from blocks.domain.plan import PlannedObject
from blocks.storage.s3_control import clean_etag

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult


@dataclass(frozen=True)
class Wanted:
    """One object to download.

    Attributes:
        address: Its name in the cache.
        key: The whole key in the bucket.
    """

    planned: PlannedObject
    address: str
    key: str


def options_of(planned: PlannedObject, span: tuple[int, int] | None = None) -> "GetOptions":
    """Ask for the bytes of that span, else for all, and have the store refuse to send another version."""
    options: GetOptions = {"if_match": f'"{planned.etag}"'} if planned.etag else {}
    if span and span != (0, planned.size):
        options["range"] = span
    return options


def check_version(planned: PlannedObject, answer: "GetResult") -> None:
    """Raise InputChangedError for another version: also of stores that do not heed If-Match."""
    found = clean_etag(answer.meta["e_tag"])
    if planned.etag and found and found != planned.etag:
        raise InputChangedError(planned.path, f"ETag {planned.etag}", f"ETag {found}")
    if answer.meta["size"] != planned.size:
        raise InputChangedError(planned.path, f"{planned.size} bytes", f"{answer.meta['size']} bytes")


def is_as_planned(planned: PlannedObject, answer: "GetResult") -> bool:
    """Whether `check_version` has nothing against it."""
    try:
        check_version(planned, answer)
    except InputChangedError:
        return False
    return True
