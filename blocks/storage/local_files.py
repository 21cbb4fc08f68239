"""The files of a directory, with symlinks that leave it refused by name."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blocks.domain.errors import InputMissingError, InvalidInputError
from blocks.storage.base import LocalFile
from blocks.storage.keys import check_key

_TEMPORARY = (".makerflow-", "~")


def temporary_name(name: str) -> str:
    """How a file or folder is called that we make beside users' own, and that is none of their data."""
    return name.join(_TEMPORARY)


def is_temporary(name: str) -> bool:
    """Whether a file or folder has such a name: it is on its way, or a process that was killed left it."""
    return name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One regular file.

    Attributes:
        key: Relative to the directory that was scanned, `/`-separated.
        path: Where the bytes are, symlinks followed.
    """

    key: str
    path: str
    status: os.stat_result

    @property
    def etag(self) -> str:
        """What changes when the file's content may have changed."""
        return file_etag(self.status)


def file_etag(status: os.stat_result) -> str:
    """The ETag of a file: `{size}-{mtime_ns}-{inode}`."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def collect(directory: Path) -> list[LocalFile]:
    """The files at and below `directory`, ordered by key, ready to upload.

    Symlinks inside the directory are followed, so that their target's bytes are uploaded under the link's name too.

    Raises:
        InvalidInputError: It names a symlink that leaves the directory or leads nowhere, a device, socket or pipe, or a
            name that no store could take.
    """
    return [LocalFile(Path(found.path), found.key) for found in scan(directory)]


def open_collected(file: Path) -> int:
    """A descriptor of a file that `collect` found.

    Raises:
        InputMissingError: It has vanished.
        InvalidInputError: A symlink has come into its place since: it is not followed. A pipe is empty.
    """
    try:
        return os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InputMissingError(str(file), "it vanished before it was uploaded") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _refused(str(file), "it became a symlink") from error


def scan(directory: Path) -> list[FoundFile]:
    """The files at and below `directory` but temporary ones, ordered by key; refusals as in `collect`."""
    root = os.path.realpath(directory)
    return sorted(_scan(root, root, "", (root,)), key=lambda found: found.key)


def _scan(root: str, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[FoundFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name):
                continue
            key = prefix + entry.name
            _check_name(folder, key)
            if entry.is_symlink():
                yield from _follow(root, entry.path, key, above)
            elif entry.is_dir(follow_symlinks=False):
                yield from _scan(root, entry.path, f"{key}/", (*above, entry.path))
            else:
                yield _regular(entry.path, key, entry.stat(follow_symlinks=False))


def _follow(root: str, link: str, key: str, above: tuple[str, ...]) -> Iterator[FoundFile]:
    target = os.path.realpath(link)
    if target != root and not target.startswith(root.rstrip("/") + "/"):
        raise _refused(link, f"the symlink {key!r} leaves its directory: it leads to {target}")
    if target in above:
        raise _refused(link, f"the symlink {key!r} leads to a directory that holds it")
    try:
        status = os.stat(target)
    except OSError as error:
        raise _refused(link, f"the symlink {key!r} leads nowhere ({error.strerror})") from error
    if stat.S_ISDIR(status.st_mode):
        yield from _scan(root, target, f"{key}/", (*above, target))
    else:
        yield _regular(target, key, status)


def _regular(path: str, key: str, status: os.stat_result) -> FoundFile:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, f"{key!r} is no regular file but a device, socket or pipe")
    return FoundFile(key, path, status)


def _check_name(folder: str, key: str) -> None:
    try:
        check_key(key)
    except InvalidInputError as error:
        raise _refused(folder, f"the name {key!r} cannot be a key: {error.why}") from error


def _refused(path: str, why: str) -> InvalidInputError:
    printable = path.encode("utf-8", "backslashreplace").decode()
    return InvalidInputError(f"{printable} cannot be used", why, "Remove it, or put a regular file there.")
