"""`makerflow storage ls` and `cp`: look at and move data with the same connections as the runs."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedObject
from blocks.storage.base import LocalFile, Progress, Storage, Uploaded
from blocks.storage.cache import Cache
from blocks.storage.directory import DirectoryStorage
from blocks.storage.local_files import temporary_name

OpenStorage = Callable[[StoragePath], Storage]

_BATCH_BYTES = 1 << 30
"""What is kept on this machine's disk at once when data moves from one object store to another."""

_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Copied:
    """What a copy moved."""

    files: int
    bytes: int


def copy(
    source: StoragePath,
    target: StoragePath,
    open: OpenStorage,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    total: Callable[[int], None] = lambda size: None,
    progress: Progress = lambda size: None,
) -> Copied:
    """Copy an object to exactly `target`, or with `recursive` all objects below `source` to the same keys below it.

    Each file appears in one step and verified. A copy that was interrupted goes on when it is asked for again with
    `overwrite`: what is there already with the same content is not sent again.

    Args:
        source: Of any scheme.
        target: Of any scheme.
        open: Gives the storage of a path.
        recursive: Allow `source` to be a folder.
        overwrite: Allow something to be at the target already.
        total: Told the bytes of all that will be copied, once.
        progress: Told of bytes as they move: those of the way in, when both ends are object stores.

    Raises:
        InputMissingError: There is nothing at `source`.
        InvalidInputError: It is a folder and `recursive` is not given or `target` is inside of it, or there is
            something at `target`.
    """
    from_, to = open(source), open(target)
    planned = from_.plan(source)
    alone = len(planned) == 1 and planned[0].path == str(source)
    if not alone and not recursive:
        raise InvalidInputError(f"{source} is not copied", "it is a folder", "Copy it with --recursive.")
    if not alone and _holds(source, target, from_, to):
        raise InvalidInputError(f"{source} is not copied", f"{target} is inside of it", "Copy it to another folder.")
    if not overwrite and not to.is_empty(target):
        raise InvalidInputError(
            f"{target} is not written",
            "there is something already, or the account may not see whether there is",
            "Add --overwrite to replace it.",
        )
    total(sum(one.size for one in planned))
    base, names = (_parent(target), [target.name]) if alone else (target, [one.key for one in planned])
    wanted = list(zip(planned, names, strict=True))
    if isinstance(from_, DirectoryStorage):
        files = [LocalFile(Path(os.path.realpath(from_.local(one.path))), key) for one, key in wanted]
        _exhaust(to.upload(files, base, progress))
    elif isinstance(to, DirectoryStorage):
        _download(wanted, from_, to, base, progress)
    else:
        _relay(wanted, from_, to, base, progress)
    return Copied(len(planned), sum(one.size for one in planned))


def _holds(source: StoragePath, target: StoragePath, from_: Storage, to: Storage) -> bool:
    if isinstance(from_, DirectoryStorage) and isinstance(to, DirectoryStorage):  # also by another name of the folder
        return Path(os.path.realpath(to.local(target))).is_relative_to(os.path.realpath(from_.local(source)))
    return source.holds(target)


Wanted = Sequence[tuple[PlannedObject, str]]
"""What is copied, and its key at the target."""


def _download(wanted: Wanted, from_: Storage, to: DirectoryStorage, base: StoragePath, progress: Progress) -> None:
    """Fetch beside the target, then rename: what arrived before an interruption is found again."""
    directory = to.local(base)
    directory.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{wanted[0][0].path}\n{base}".encode()).hexdigest()[:16]
    scratch = directory / temporary_name(f"copy-{name}")
    files = _fetch(wanted, from_, Cache(scratch, _UNLIMITED), progress)
    arrived: dict[Path, Path] = {}
    for key, file in files.items():
        target = to.local(base / key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file in arrived:  # the same content under two keys
            shutil.copyfile(arrived[file], target)
        else:
            os.chmod(file, 0o644)
            os.replace(file, target)
            arrived[file] = target
    shutil.rmtree(scratch)


def _relay(wanted: Wanted, from_: Storage, to: Storage, base: StoragePath, progress: Progress) -> None:
    """From one object store to another, over this machine's disk, some at a time."""
    for batch in _batches(wanted):
        with tempfile.TemporaryDirectory(prefix="makerflow-copy-") as scratch:
            files = _fetch(batch, from_, Cache(Path(scratch), _UNLIMITED), progress)
            _exhaust(to.upload([LocalFile(file, key) for key, file in files.items()], base, lambda size: None))


def _fetch(wanted: Wanted, from_: Storage, cache: Cache, progress: Progress) -> dict[str, Path]:
    """Key at the target to the fetched file."""
    keys = {one.path: key for one, key in wanted}
    fetched = from_.fetch([one for one, _ in wanted], cache, progress)
    return {keys[one.planned.path]: one.file for one in fetched}


def _batches(wanted: Wanted) -> Iterator[Wanted]:
    batch: list[tuple[PlannedObject, str]] = []
    size = 0
    for one in wanted:
        if batch and size + one[0].size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one[0].size
    yield batch


def _parent(path: StoragePath) -> StoragePath:
    if not path.key:
        raise InvalidInputError(f"{path} is not written", "it names no object", "Add a name for the copy.")
    return replace(path, key=path.key.rpartition("/")[0])


def _exhaust(uploads: Iterator[Uploaded]) -> None:
    for _ in uploads:
        pass
