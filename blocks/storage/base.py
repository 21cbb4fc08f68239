"""The storage interface: where users' data lies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedObject

if TYPE_CHECKING:
    from blocks.storage.cache import Cache

Progress = Callable[[int], None]
"""Called with the number of bytes that have just arrived; from any thread."""


class Rights(Flag):
    """What an account may do below a path."""

    READ = auto()
    WRITE = auto()


@dataclass(frozen=True)
class Fetched:
    """One object that is in the cache, verified.

    Attributes:
        cached: Whether it was there already, so that nothing was downloaded.
    """

    planned: PlannedObject
    file: Path
    cached: bool


@dataclass(frozen=True)
class LocalFile:
    """A file to upload.

    Attributes:
        path: Where it is; never a symlink that leaves the directory it was found in.
        key: Where it goes, relative to the destination.
    """

    path: Path
    key: str


@dataclass(frozen=True)
class Uploaded:
    """One file that is at its place, verified."""

    key: str
    path: StoragePath
    size: int
    etag: str


@dataclass(frozen=True)
class Entry:
    """One line of a listing.

    Attributes:
        key: Relative to the listed path; the name when the path is one object.
        size: Bytes; None for a folder.
        modified: When it last changed; None for a folder of an object store.
        etag: As in `PlannedObject`; empty for a folder.
    """

    key: str
    size: int | None
    modified: datetime | None
    etag: str

    @property
    def is_folder(self) -> bool:
        """Whether there is more below it."""
        return self.size is None


class Storage(ABC):
    """One kind of store, opened with one connection's credentials. Safe to use from several threads.

    Implementations raise only errors of `blocks.domain.errors`: `StorageUnavailableError` for what trying again may
    help, `AccessDeniedError` with bucket, path and right, `InputMissingError` and `InputChangedError` with the path.
    """

    @abstractmethod
    def plan(self, path: StoragePath) -> list[PlannedObject]:
        """The objects at or below `path`, ordered by key; the same store content gives the same list.

        `path` may be one object (its key is then its name) or a directory (keys are relative to it). Zero-byte
        directory markers are left out.

        Raises:
            InputMissingError: There is nothing.
            InvalidInputError: A key could not be staged inside a directory; it is named.
        """

    @abstractmethod
    def entries(self, path: StoragePath, *, recursive: bool = False) -> Iterator[Entry]:
        """What is at or below `path`, in the order of the keys: the folder's own entries, or all objects.

        Unlike `plan` it shows also what could not be staged. Nothing there gives nothing.
        """

    @abstractmethod
    def is_empty(self, path: StoragePath) -> bool:
        """Whether there is no object at `path`, nor below it; quick, however many there are.

        False also where the account may write and not look, so that nothing is overwritten.
        """

    @abstractmethod
    def addresses(self, objects: Sequence[PlannedObject]) -> list[str]:
        """The name under which a cache keeps each object. Equal names mean equal bytes, in whatever store they lie."""

    @abstractmethod
    def fetch(self, objects: Sequence[PlannedObject], into: "Cache", progress: Progress) -> Iterator[Fetched]:
        """Bring each object into the cache, in any order, verifying every byte (size, and MD5 where the ETag is one).

        Raises:
            InputMissingError: An object is gone.
            InputChangedError: An object is not as planned.
            StorageUnavailableError: The store failed, or stalled, more often than patience allows.
        """

    @abstractmethod
    def upload(self, files: Iterable[LocalFile], to: StoragePath, progress: Progress) -> Iterator[Uploaded]:
        """Put each file at `to / key`: atomic per object, verified; what is there already is not sent again.

        Raises:
            AccessDeniedError: Writing is not allowed.
            StorageUnavailableError: The store failed more often than patience allows.
        """

    @abstractmethod
    def check(self, path: StoragePath, rights: Rights) -> None:
        """Prove that the account has `rights` at `path`, leaving nothing behind.

        Raises:
            AccessDeniedError: It names bucket, path and the missing right.
            InputMissingError: READ was asked for and there is nothing at `path`, or the bucket does not exist.
            UnknownStoreError: WRITE was asked for and the bucket does not exist, or its certificate is not trusted.
            StorageUnavailableError: The store does not answer.
        """

    @abstractmethod
    def delete(self, path: StoragePath) -> int:
        """Delete the object, or all objects, at `path`; how many there were. Nothing there is fine.

        Raises:
            InvalidInputError: `path` is a whole store.
        """


def check_deletable(path: StoragePath) -> None:
    """Refuse to delete a whole store.

    Raises:
        InvalidInputError: `path` is one.
    """
    if not path.key:
        raise InvalidInputError(f"{path} is not deleted", "it is the whole store", "Name a path in it.")
