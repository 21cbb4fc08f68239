"""What lies below a directory that an entry point writes to, and what of it may leave the machine."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import check_relative_key

Version = tuple[int, int, int]
"""Of a file: another one whenever its content may be another."""


class RefusedOutputError(InvalidInputError):
    """The entry point left something that may not leave the machine."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was when it was looked at."""

    key: str
    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @property
    def version(self) -> Version:
        """Size, time of change and inode."""
        return self.size, self.modified_ns, self.inode

    @property
    def is_renamed(self) -> bool:
        """Whether it got its name, or its times, after the last byte: writing sets both times alike."""
        return self.changed_ns > self.modified_ns


@dataclass
class Tree:
    """A directory's files, and the reasons against the rest."""

    files: list[FoundFile] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def check(self, what: str) -> None:
        """Refuse a tree that holds something which may not leave the machine.

        Raises:
            RefusedOutputError: It names what, and why.
        """
        if self.refused:
            more = f" and {len(self.refused) - 5} more" if len(self.refused) > 5 else ""
            raise RefusedOutputError(
                f"{what} cannot be uploaded",
                "; ".join(self.refused[:5]) + more,
                "Let the entry point leave plain files.",
            )


def look(root: Path) -> Tree:
    """All files below `root`, in no order, whatever is written or removed meanwhile.

    A link to a file inside counts as that file; one to a directory inside is left out, as its files are there anyway; a
    link that leaves `root` is refused, and so is what cannot be read.
    """
    tree = Tree()
    if root.is_symlink():
        tree.refused.append(f"{root.name} itself was replaced by a link to {os.readlink(root)}")
        return tree
    inside = os.path.realpath(root)

    def doubt(path: str, error: OSError) -> None:
        tree.refused.append(f"{os.path.relpath(path, root)} cannot be read ({error.strerror})")

    for entry in _walk(root, doubt):
        key = os.path.relpath(entry.path, root)
        try:
            reason = _refuse(entry, key, inside)
            if reason:
                tree.refused.append(reason)
            elif entry.is_file():
                tree.files.append(_found(entry, key))
        except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
            continue
        except OSError as error:
            doubt(entry.path, error)
    return tree


def _walk(directory: str | Path, doubt: Callable[[str, OSError], None]) -> Iterator[os.DirEntry[str]]:
    """All but the folders, however deep. `doubt` is told of the folders that cannot be looked into."""
    folders = [os.fspath(directory)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry
        except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or a file has come into its place
            continue
        except OSError as error:
            doubt(folder, error)


def _refuse(entry: os.DirEntry[str], key: str, inside: str) -> str:
    """Why it may not leave; empty when it may."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if target != inside and not target.startswith(inside + os.sep):
            return f"{key} is a link to {os.readlink(entry.path)}, outside of the directory"
    try:
        check_relative_key(key)
    except InvalidInputError as error:
        return f"{os.fsencode(key)!r}: {error.why}"
    return ""


def _found(entry: os.DirEntry[str], key: str) -> FoundFile:
    facts = entry.stat()
    if not os.access(entry.path, os.R_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return FoundFile(key, entry.path, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


def written_bytes(directory: str | Path) -> int:
    """What the files below `directory` take of the disk, as far as one can look; one with several names counts once."""
    total = 0
    counted: set[int] = set()
    for entry in _walk(directory, lambda *_: None):
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if not stat.S_ISREG(facts.st_mode) or (facts.st_nlink > 1 and facts.st_ino in counted):
            continue
        counted.add(facts.st_ino)
        total += facts.st_blocks * 512
    return total
