"""Copies of local files: into the cache, and to their place in a directory."""

import fcntl
import filecmp
import os
import threading
import uuid
from hashlib import sha256
from io import FileIO
from pathlib import Path

from blocks.domain.errors import InputChangedError, InputMissingError
from blocks.domain.plan import PlannedObject
from blocks.locks import is_at, try_lock
from blocks.storage.arrivals import BUSY_SECONDS, Arrivals, ClaimedError
from blocks.storage.base import Progress
from blocks.storage.disk import disk_limits
from blocks.storage.incoming import Incoming
from blocks.storage.local_files import file_etag, open_collected, temporary_name

_BLOCK = 1 << 20
_FICLONE = 0x40049409
"""linux/fs.h: share the blocks of another file until one of the two is written."""

_TEMPORARY = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_DIGITS = 32


def copy_into_cache(
    file: Path,
    planned: PlannedObject,
    address: str,
    arrivals: Arrivals,
    progress: Progress,
    stopped: threading.Event,
) -> None:
    """Bring one planned file in, unless somebody else does; give up waiting for them when `stopped`.

    Raises:
        InputMissingError: The file is gone.
        InputChangedError: It is not, or did not stay, as planned.
    """
    incoming = _claim(address, arrivals, stopped)
    if incoming is None:
        return
    try:
        digest = _copy(file, planned, incoming, progress)
    except BaseException:
        incoming.close()
        raise
    if arrivals.add(incoming, digest):
        arrivals.settle()


def put_file(file: Path, target: Path, progress: Progress) -> os.stat_result:
    """Put a copy of `file` at `target` in one step, safe on the disk; nothing is written when the bytes are there.

    Raises:
        InputMissingError: The file is gone.
        CapacityError: The target's disk is full.
    """
    source = open_collected(file)
    try:
        size = os.fstat(source).st_size
        if target.is_file() and target.stat().st_size == size and filecmp.cmp(file, target, shallow=False):
            progress(size)
            return target.stat()
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk_limits(target.parent, size):
            return _replace(source, target, progress)
    finally:
        os.close(source)


def _claim(address: str, arrivals: Arrivals, stopped: threading.Event) -> Incoming | None:
    while not stopped.is_set():
        try:
            return arrivals.claim(address)
        except ClaimedError:
            stopped.wait(BUSY_SECONDS)
    return None


def _copy(file: Path, planned: PlannedObject, incoming: Incoming, progress: Progress) -> str:
    try:
        source = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissingError(planned.path, "it is gone") from error
    try:
        _check(planned, source)
        incoming.restart()
        cloned = _clone(source, incoming.descriptor)
        digest, offset = sha256(), 0
        while data := _read(source, planned.size, offset):
            if not cloned:
                incoming.write(data, offset)
            digest.update(data)
            offset += len(data)
            progress(len(data))
        _check(planned, source)
        if offset != planned.size:
            raise InputChangedError(planned.path, f"{planned.size} bytes", f"{offset} bytes")
    finally:
        os.close(source)
    return f"sha256:{digest.hexdigest()}"


def _check(planned: PlannedObject, descriptor: int) -> None:
    found = file_etag(os.fstat(descriptor))
    if found != planned.etag:
        raise InputChangedError(planned.path, f"ETag {planned.etag}", f"ETag {found}")


def _read(descriptor: int, size: int, offset: int) -> bytes:
    """The next block of the first `size` bytes. Asking for no more than there is spares a large buffer."""
    return os.pread(descriptor, min(_BLOCK, size - offset), offset)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # most file systems cannot
    return True


def _replace(source: int, target: Path, progress: Progress) -> os.stat_result:
    temporary, descriptor = _open_temporary(target)
    with open(descriptor, "wb", buffering=0) as copy:  # locked until it is closed
        try:
            _fill(copy, source, progress)
            status = os.fstat(descriptor)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _sync_directory(target.parent)
    return status


def _fill(copy: FileIO, source: int, progress: Progress) -> None:
    size, offset = os.fstat(source).st_size, 0
    while data := _read(source, size, offset):
        view = memoryview(data)
        while len(view):
            view = view[copy.write(view) or 0 :]
        offset += len(data)
        progress(len(data))
    os.fsync(copy.fileno())


def _open_temporary(target: Path) -> tuple[Path, int]:
    """A new, empty file beside the target, locked.

    Its name is the same at each attempt, so that what a killed one left is taken over. While somebody else writes to
    it, or where files cannot be locked, it has a name of its own.
    """
    digest = sha256(f"{os.getuid()}\n{target.name}".encode()).hexdigest()[:_NAME_DIGITS]
    usual = target.with_name(temporary_name(digest))
    descriptor = os.open(usual, _TEMPORARY, 0o666)
    if _lock(usual, descriptor):
        os.ftruncate(descriptor, 0)
        return usual, descriptor
    os.close(descriptor)
    own = target.with_name(temporary_name(uuid.uuid4().hex))
    return own, os.open(own, _TEMPORARY | os.O_EXCL, 0o666)


def _lock(file: Path, descriptor: int) -> bool:
    """Lock an open file, unless somebody else has it, or has renamed it since it was opened."""
    try:
        return try_lock(descriptor) and is_at(file, descriptor)
    except OSError:  # the file system has no locks: nothing may be left that nobody takes over
        file.unlink(missing_ok=True)
        return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
