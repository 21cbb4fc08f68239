"""A content-addressed cache of objects, shared by all runs of a machine.

```
objects/{address}        complete, verified, read-only; runs get hard links to them
incoming/{address}       partial, see `incoming.py`
leases/{id}              locked by a process while it stages
index.db                 digest, inode and last use of each object; when links were made
lock                     held while links are made or objects are evicted
```
An entry point that runs as root can write through a hard link, and writing changes the inode: its mtime, and when that
is set back its ctime. A link that is made or removed changes the ctime too, so the times of our own linking are
recorded. A file with a ctime of any other time is verified again before the next run gets it.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.locks import is_locked
from blocks.storage.cache_index import CacheIndex, Known, LinkWindows
from blocks.storage.digests import digest_like
from blocks.storage.disk import free_bytes, no_room
from blocks.storage.incoming import Incoming
from blocks.storage.links import READ_ONLY, place_copy, place_link, same_content
from blocks.storage.locks import CacheLock, Leases

_ABANDONED_SECONDS = 7 * 24 * 3600
_VERIFIED_AT_ONCE = 256
_WORTH_A_THREAD = 1000


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
        for folder in (self._objects, self._incoming, directory / "leases"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._base = f"{self._objects}/"
        self._lock = CacheLock(directory / "lock")
        self._leases = Leases(directory / "leases", self._lock)
        with self._lock.held():
            self._index = CacheIndex(directory / "index.db")

    def path(self, address: str) -> Path:
        """Where the file of that address is, or would be."""
        return self._objects / address

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While it is held, nothing that comes in from now on is evicted. Evicts what is too much at the end."""
        try:
            with self._leases.take():
                yield
        finally:
            self.trim()

    def find(self, addresses: Iterable[str]) -> dict[str, Path]:
        """The files of those addresses that are here, each verified."""
        known = self._index.find(addresses)
        windows = self._index.windows()
        doubtful = [entry for entry in known.values() if not self._trusted(entry, windows)]
        wrong = set(self._verify(doubtful))
        return {address: self.path(address) for address in known if address not in wrong}

    def link(self, wanted: Sequence[tuple[str, str]]) -> list[int]:
        """Put the file of each (address, target) at its target: a hard link, or a copy where the disk refuses links.

        Only bytes that are known to be right are given out. Done twice, it finds its own work. Hold a lease meanwhile.

        Returns:
            The indices of those that are not here, or were damaged: fetch them, then ask again.

        Raises:
            CapacityError: A copy did not fit on the disk.
            InvalidInputError: A target is a directory.
        """
        left: Sequence[int] = range(len(wanted))
        absent: list[int] = []
        while left:
            known = self._index.find({wanted[index][0] for index in left})
            round_ = _LinkRound(wanted, known, self._base)
            with self._lock.held() as clock:
                began_ns = clock.pass_ns()
                round_.run(left, self._index.windows(), began_ns)
                self._index.add_window(began_ns, clock.pass_ns(), round_.used, time.time())
            written = [i for i in round_.refused if not place_copy(self._base + wanted[i][0], wanted[i][1])]
            absent += round_.absent
            self._verify([known[wanted[index][0]] for index in round_.doubtful])
            left = sorted(round_.doubtful + written)
        return sorted(absent)

    def claim(self, address: str) -> Incoming | None:
        """The right to bring in that object; None while another process or thread has it."""
        return Incoming.claim(self._incoming, address)

    def settle(self, arrived: Sequence[tuple[Incoming, str]]) -> None:
        """Take (complete and verified file, digest) in, and let the claims go."""
        try:
            settled = [(inc.address, digest, inc.settle(self.path(inc.address))) for inc, digest in arrived]
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
        evicted: list[str] = []
        freed = 0
        if excess > 0:
            with self._lock.held():
                for address, size in self._index.least_used(self._leases.oldest()):
                    if freed >= excess:
                        break
                    self.path(address).unlink(missing_ok=True)
                    evicted.append(address)
                    freed += size
                self._index.forget(evicted)
        for file in self.abandoned():
            file.unlink(missing_ok=True)
        return freed

    def remove_tree(self, directory: Path) -> None:
        """Delete a directory with links into the cache, without making their files doubtful.

        Removing a link changes the ctime of the file that others still share. Deleting the tree in another way is safe
        too, but then the next run has to verify each file first. Nothing there is fine.
        """
        with self._lock.held() as clock:
            began_ns = clock.pass_ns()
            windows = self._index.windows()
            linked = _linked_files(directory)
            known = self._index.find_inodes(linked)
            # What was written to must not be taken for right because our unlinking covers the trace.
            self._index.doubt([entry.id for inode, entry in known.items() if not windows.trust(entry, linked[inode])])
            if directory.exists():
                shutil.rmtree(directory)
            self._index.add_window(began_ns, clock.pass_ns(), (), time.time())

    def leave(self) -> None:
        """To be called last, by a process that ends: it need not wait until the index is at its place on the disk."""
        self._index.leave()

    def total_bytes(self) -> int:
        """The sizes of all objects together."""
        return self._index.total_bytes()

    def verify_all(self, progress: Callable[[int], None] = lambda size: None) -> Inspection:
        """Verify every byte of every file, and remove what is wrong, so that it is fetched again when it is needed."""
        everything = self._index.all()
        damaged: list[str] = []
        for start in range(0, len(everything), _VERIFIED_AT_ONCE):
            some = everything[start : start + _VERIFIED_AT_ONCE]
            damaged += self._verify(some)
            progress(sum(known.size for known in some))
        strays = self._remove_strays({known.address for known in everything})
        return Inspection(len(everything), sum(known.size for known in everything), tuple(damaged), strays)

    def _trusted(self, known: Known, windows: LinkWindows) -> bool:
        status = _status(self._base + known.address)
        return status is not None and windows.trust(known, status)

    def _verify(self, entries: Sequence[Known]) -> list[str]:
        """Read every byte of these, trust the right ones again, remove the wrong ones; the latters' addresses."""
        distinct = list(dict.fromkeys(entries))
        wrong: list[str] = []
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="makerflow-verify") as pool:
            for start in range(0, len(distinct), _VERIFIED_AT_ONCE):
                some = distinct[start : start + _VERIFIED_AT_ONCE]
                wrong += self._judge(list(zip(some, pool.map(self._proof, some), strict=True)))
        return wrong

    def _proof(self, known: Known) -> os.stat_result | None:
        """The inode of a file, as it was before its bytes were read and found right; None when they are wrong."""
        before = _status(self._base + known.address)
        if before is None or before.st_size != known.size:
            return None
        try:
            return before if digest_like(known.digest, self.path(known.address)) == known.digest else None
        except FileNotFoundError:
            return None

    def _judge(self, proofs: Sequence[tuple[Known, os.stat_result | None]]) -> list[str]:
        right, wrong = [], []
        with self._lock.held():
            for known, before in proofs:
                file = self.path(known.address)
                after = _status(str(file))
                if before and after and same_content(before, after):
                    os.chmod(file, READ_ONLY)
                    right.append((known.address, known.digest, os.stat(file)))
                elif after is None or before is None or before.st_ino == after.st_ino:
                    file.unlink(missing_ok=True)
                    wrong.append(known.address)
            self._index.keep(right, time.time())
            self._index.forget(wrong)
        return wrong

    def abandoned(self) -> list[Path]:
        """Partial files that nobody has gone on with for days; `trim` removes them."""
        long_ago = time.time() - _ABANDONED_SECONDS
        files = ((file, _status(str(file))) for file in self._incoming.iterdir())
        return [file for file, status in files if status and status.st_mtime < long_ago and not is_locked(file)]

    def _remove_strays(self, known: set[str]) -> int:
        """Files that a process put in place and died before it could record them."""
        strays = [file for file in self._objects.iterdir() if file.name not in known]
        with self._lock.held():
            recorded = self._index.find([file.name for file in strays])
            removed = [file for file in strays if file.name not in recorded]
            for file in removed:
                file.unlink(missing_ok=True)
        return len(removed)


class _LinkRound:
    """One pass over what is wanted, under the lock.

    Attributes:
        absent: Indices of what is not here.
        doubtful: Of what has to be verified first.
        refused: Of what the file system would not link.
        used: Ids of the files that were given out.
    """

    def __init__(self, wanted: Sequence[tuple[str, str]], known: dict[str, Known], base: str) -> None:
        self._wanted, self._known, self._base = wanted, known, base
        self.absent: list[int] = []
        self.doubtful: list[int] = []
        self.refused: list[int] = []
        self.used: list[int] = []

    def run(self, indices: Sequence[int], windows: LinkWindows, began_ns: int) -> None:
        """Link what is right, two halves side by side: nearly all of the time is the kernel's."""
        middle = len(indices) // 2 if len(indices) >= _WORTH_A_THREAD else 0
        first, second = indices[:middle], indices[middle:]
        with ThreadPoolExecutor(1, thread_name_prefix="makerflow-link") as pool:
            half = pool.submit(self._run, first, windows, began_ns) if first else None
            self._run(second, windows, began_ns)
            if half:
                half.result()

    def _run(self, indices: Iterable[int], windows: LinkWindows, began_ns: int) -> None:
        for index in indices:
            address, target = self._wanted[index]
            known = self._known.get(address)
            file = self._base + address
            status = _status(file) if known else None
            if known is None or status is None:
                self.absent.append(index)
            elif not windows.trust(known, status, began_ns):
                self.doubtful.append(index)
            else:
                self.used.append(known.id)
                if not place_link(file, target):
                    self.refused.append(index)


def _status(file: str) -> os.stat_result | None:
    try:
        return os.stat(file)
    except FileNotFoundError:
        return None


def _linked_files(directory: Path) -> dict[int, os.stat_result]:
    """Inode to status of the files in a directory that have another name elsewhere."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(f"{folder}/{name}")
            if status.st_nlink > 1:
                found[status.st_ino] = status
    return found
