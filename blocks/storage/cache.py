"""A content-addressed cache of objects, shared by all runs of a machine.

```
objects/ab/{address}     complete, verified, read-only; runs get hard links to them
incoming/{address}       partial, see `incoming.py`
leases/{id}              locked by a process while it stages
index.db                 digest, inode and last use of each object
lock                     held while links are made or objects are evicted
```
An entry point that runs as root can write through a hard link, and writing changes the inode. So does each link that
is made or removed, by its ctime: those made here are recorded under the lock; after any other change the bytes are
verified again before the next run gets them.
"""

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from blocks.storage.cache_index import CacheIndex, Known
from blocks.storage.digests import digest_like
from blocks.storage.disk import disk_limits, free_bytes, no_room
from blocks.storage.incoming import Incoming

_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_ABANDONED_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Inspection:
    """What a full verification of the cache found.

    Attributes:
        damaged: The addresses of files whose bytes were wrong or missing; they are gone now.
        strays: How many files nothing was known of; they are gone now.
    """

    files: int
    bytes: int
    damaged: tuple[str, ...]
    strays: int


class Cache:
    """Files by address. Safe with many threads and processes at once.

    Args:
        directory: Made when it does not exist; one file system, ideally that of the runs.
        limit_bytes: Least recently used objects are evicted past it. Objects that are being staged stay until then, so
            an input larger than the cache can be staged; its bytes then belong to the run alone.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory, self.limit_bytes = directory, limit_bytes
        self._objects, self._incoming = directory / "objects", directory / "incoming"
        self._leases = directory / "leases"
        for folder in (self._objects, self._incoming, self._leases):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            self._index = CacheIndex(directory / "index.db")

    def path(self, address: str) -> Path:
        """Where the file of that address is, or would be."""
        return Path(self._file(address))

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While it is held, nothing that is used from now on is evicted. Evicts what is too much at the end."""
        file = self._leases / uuid.uuid4().hex
        with self._locked():  # so that nobody takes it for a dead one before it is locked
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            os.close(descriptor)
            self.trim()

    def find(self, addresses: Iterable[str]) -> dict[str, Path]:
        """The files of those addresses that are here, each verified."""
        found = {}
        for known in self._index.find(addresses).values():
            if self._trusted(known) or self._verify(known):
                found[known.address] = self.path(known.address)
        return found

    def link(self, wanted: Sequence[tuple[str, str]]) -> list[int]:
        """Put the file of each (address, target) at its target: a hard link, or a copy where the disk refuses links.

        Only bytes that are known to be right are given out. Done twice, it finds its own work.

        Returns:
            The indices of those that are not here, or were damaged: fetch them, then ask again.

        Raises:
            CapacityError: A copy did not fit on the disk.
            InvalidInputError: A target is a directory.
        """
        left = list(range(len(wanted)))
        absent: list[int] = []
        while left:
            copies: list[int] = []
            suspects: dict[str, Known] = {}
            known = self._index.find({wanted[i][0] for i in left})
            with self._locked():
                gone, doubtful = self._link_known(wanted, left, known, copies, suspects)
            absent += gone
            doubtful += [index for index in copies if not self._copy(*wanted[index])]
            for suspect in suspects.values():
                self._verify(suspect)
            left = doubtful
        return sorted(absent)

    def claim(self, address: str) -> Incoming | None:
        """The right to bring in that object; None while another process or thread has it."""
        return Incoming.claim(self._incoming, address)

    def settle(self, arrived: Iterable[tuple[Incoming, str]]) -> None:
        """Take (complete and verified file, digest) in, and let the claims go."""
        settled = []
        arrived = list(arrived)
        try:
            for incoming, digest in arrived:
                settled.append((incoming.address, digest, incoming.settle(self.path(incoming.address))))
            self._index.keep(settled, time.time())
        finally:
            for incoming, _ in arrived:
                incoming.close()

    def missing_bytes(self, address: str, size: int) -> int:
        """What an object still takes on the disk: less than its size when an interrupted download left a part."""
        try:
            return max(0, size - (self._incoming / address).stat().st_blocks * 512)
        except FileNotFoundError:
            return size

    def make_room(self, size: int) -> None:
        """Evict what stands in the way of `size` bytes more.

        Raises:
            CapacityError: The disk has no room for them whatever is evicted.
        """
        self.trim(self.limit_bytes - size)
        if free_bytes(self.directory) < size:
            self.trim(self._index.total_bytes() - size)
        if free_bytes(self.directory) < size:
            raise no_room(self.directory, size)

    def trim(self, limit_bytes: int | None = None) -> int:
        """Evict the least recently used objects until the rest is within the limit; the bytes that were evicted."""
        limit = max(0, self.limit_bytes if limit_bytes is None else limit_bytes)
        excess = self._index.total_bytes() - limit
        evicted = []
        freed = 0
        if excess > 0:
            with self._locked():
                for address, size in self._index.least_used(self._oldest_lease()):
                    if freed >= excess:
                        break
                    self.path(address).unlink(missing_ok=True)
                    evicted.append(address)
                    freed += size
                self._index.forget(evicted)
        self._drop_abandoned()
        return freed

    def remove_tree(self, directory: Path) -> None:
        """Delete a directory with links into the cache, without making their files doubtful.

        Removing a link changes the ctime of the file that others still share. Deleting the tree in another way is safe
        too, but then the next run has to verify each file first. Nothing there is fine.
        """
        with self._locked():
            shared = self._shared_files(directory)
            known = self._index.find_inodes(shared)
            intact = [known[inode] for inode in shared if inode in known and self._trusted(known[inode])]
            shutil.rmtree(directory, ignore_errors=False, onerror=_missing_is_fine)
            self._index.touch(self._ctimes(intact), time.time())

    def total_bytes(self) -> int:
        """The sizes of all objects together."""
        return self._index.total_bytes()

    def verify_all(self, progress: Callable[[int], None] = lambda size: None) -> Inspection:
        """Verify every byte of every file, and remove what is wrong, so that it is fetched again when it is needed."""
        everything = self._index.all()
        damaged = []
        for known in everything:
            if not self._verify(known):
                damaged.append(known.address)
            progress(known.size)
        strays = self._remove_strays({known.address for known in everything})
        return Inspection(len(everything), sum(known.size for known in everything), tuple(damaged), strays)

    def _file(self, address: str) -> str:
        shard = address.index("-") + 1
        return f"{self._objects}/{address[shard : shard + 2]}/{address}"

    def _link_known(
        self,
        wanted: Sequence[tuple[str, str]],
        indices: Iterable[int],
        known: dict[str, Known],
        copies: list[int],
        suspects: dict[str, Known],
    ) -> tuple[list[int], list[int]]:
        """Link what is trusted; returns (absent, doubtful) indices. Runs under the lock."""
        absent: list[int] = []
        doubtful: list[int] = []
        ctimes: dict[str, int] = {}
        for index in indices:
            address, target = wanted[index]
            entry = known.get(address)
            status = self._status(address) if entry else None
            if entry is None or status is None:
                absent.append(index)
            elif not entry.describes(status) and ctimes.get(address) != status.st_ctime_ns:
                suspects[address] = entry
                doubtful.append(index)
            elif _place(self._file(address), target, status):
                ctimes[address] = os.stat(self._file(address)).st_ctime_ns
            else:
                copies.append(index)
                ctimes[address] = status.st_ctime_ns
        self._index.touch(ctimes.items(), time.time())
        return absent, doubtful

    def _copy(self, address: str, target: str) -> bool:
        """Copy where a link is refused; False when somebody wrote meanwhile. A lease keeps the original."""
        file = self._file(address)
        temporary = f"{target}.{uuid.uuid4().hex[:8]}~"
        before = os.stat(file)
        with disk_limits(Path(target).parent, before.st_size):
            try:
                shutil.copyfile(file, temporary)
                os.chmod(temporary, 0o444)
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return _same_content(before, os.stat(file))

    def _trusted(self, known: Known) -> bool:
        status = self._status(known.address)
        return status is not None and known.describes(status)

    def _status(self, address: str) -> os.stat_result | None:
        try:
            return os.stat(self._file(address), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _verify(self, known: Known) -> bool:
        """Read every byte; a right file is trusted again, a wrong one is removed."""
        before = self._status(known.address)
        file = self.path(known.address)
        right = before is not None and before.st_size == known.size and digest_like(known.digest, file) == known.digest
        with self._locked():
            after = self._status(known.address)
            if right and before and after and _same_content(before, after):
                os.chmod(file, 0o444)
                self._index.keep([(known.address, known.digest, os.stat(file))], time.time())
                return True
            if before is None or after is None or before.st_ino == after.st_ino:
                file.unlink(missing_ok=True)
                self._index.forget([known.address])
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _oldest_lease(self) -> float:
        oldest = time.time()
        for file in self._leases.iterdir():
            if _held(file):
                oldest = min(oldest, file.stat().st_mtime)
            else:
                file.unlink(missing_ok=True)
        return oldest

    def _drop_abandoned(self) -> None:
        """Partial files that nobody has gone on with for days."""
        for file in self._incoming.iterdir():
            if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS and not _held(file):
                file.unlink(missing_ok=True)

    def _remove_strays(self, known: set[str]) -> int:
        """Files that a process put in place and died before it could record them."""
        strays = [file for file in self._objects.glob("*/*") if file.name not in known]
        with self._locked():
            recorded = self._index.find([file.name for file in strays])
            removed = [file for file in strays if file.name not in recorded]
            for file in removed:
                file.unlink(missing_ok=True)
        return len(removed)

    def _shared_files(self, directory: Path) -> set[int]:
        inodes = set()
        for folder, _, names in os.walk(directory):
            for name in names:
                status = os.lstat(f"{folder}/{name}")
                if status.st_nlink > 1:
                    inodes.add(status.st_ino)
        return inodes

    def _ctimes(self, entries: Iterable[Known]) -> list[tuple[str, int]]:
        found = ((known.address, self._status(known.address)) for known in entries)
        return [(address, status.st_ctime_ns) for address, status in found if status]


def _place(file: str, target: str, status: os.stat_result) -> bool:
    """Hard-link `file` to `target`; False where the file system refuses."""
    try:
        os.link(file, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return _place(file, target, status)
    except FileExistsError:
        return _replace(file, target, status)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def _replace(file: str, target: str, status: os.stat_result) -> bool:
    there = os.lstat(target)
    if os.path.isdir(target) and not os.path.islink(target):
        raise InvalidInputError(f"{target} cannot be staged", "a directory is in its place", "Remove that directory.")
    if os.path.samestat(there, status):
        return True
    os.unlink(target)
    return _place(file, target, status)


def _same_content(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody wrote between the two; links may have come and gone."""
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def _held(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _missing_is_fine(function: object, path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
