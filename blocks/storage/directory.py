"""Storage in a directory of this machine: `file://`, and `nas://` where it is mounted."""

import errno
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from blocks.domain.errors import AccessDeniedError, InputMissingError, InvalidInputError, StorageUnavailableError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import PlannedObject
from blocks.storage.arrivals import SETTLE_SECONDS, Arrivals
from blocks.storage.base import Entry, Fetched, LocalFile, Progress, Rights, Storage, Uploaded, check_deletable
from blocks.storage.cache import Cache
from blocks.storage.disk import disk_limits
from blocks.storage.file_copy import copy_into_cache, put_file
from blocks.storage.keys import check_keys
from blocks.storage.local_files import file_etag, is_temporary, scan

_AT_ONCE = 4


class DirectoryStorage(Storage):
    """The files below a mount point.

    Args:
        root: The path that the mount point stands for: `file:///` or `nas://{id}:/`.
        mount: The mount point.
    """

    def __init__(self, root: StoragePath, mount: Path) -> None:
        self._root, self._mount = root, Path(os.path.realpath(mount))

    def plan(self, path: StoragePath) -> list[PlannedObject]:
        """See `Storage.plan`."""
        place = self._existing(path)
        if place.is_file():
            status = place.stat()
            return [PlannedObject(key=path.name, path=str(path), size=status.st_size, etag=file_etag(status))]
        with _said_clearly(path, "read"):
            found = scan(place)
        if not found:
            raise InputMissingError(str(path), "there is no file in it")
        check_keys([file.key for file in found], path)
        prefix = _prefix(path)
        return [
            PlannedObject(key=file.key, path=prefix + file.key, size=file.status.st_size, etag=file.etag)
            for file in found
        ]

    def entries(self, path: StoragePath, *, recursive: bool = False) -> Iterator[Entry]:
        """See `Storage.entries`."""
        place = self.local(path)
        with _said_clearly(path, "read"):
            if place.is_file():
                yield _entry(path.name, place.stat())
            elif place.is_dir() and recursive:
                yield from (_entry(file.key, file.status) for file in scan(place))
            elif place.is_dir():
                children = (child for child in os.scandir(place) if not is_temporary(child.name))
                for child in sorted(children, key=lambda child: child.name):
                    status = child.stat(follow_symlinks=child.is_file())
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    yield Entry(child.name, None, modified, "") if child.is_dir() else _entry(child.name, status)

    def is_empty(self, path: StoragePath) -> bool:
        """See `Storage.is_empty`."""
        place = self.local(path)
        with _said_clearly(path, "read"):
            if not place.is_dir():
                return not os.path.lexists(place)
            return not any(_files(place))

    def addresses(self, objects: Sequence[PlannedObject]) -> list[str]:
        """A file's ETag says something about its own path only."""
        identities = ("\n".join((str(self._mount), planned.path, planned.etag)) for planned in objects)
        return [f"at-{sha256(identity.encode()).hexdigest()}" for identity in identities]

    def fetch(self, objects: Sequence[PlannedObject], into: Cache, progress: Progress) -> Iterator[Fetched]:
        """See `Storage.fetch`."""
        wanted = dict(zip(self.addresses(objects), objects, strict=True))
        for address, file in into.find(wanted).items():
            yield Fetched(wanted.pop(address), file, cached=True)
        total = sum(planned.size for planned in wanted.values())
        into.make_room(total)
        with disk_limits(into.directory, total):
            for address, file, cached in self._copy(wanted, into, progress):
                yield Fetched(wanted[address], file, cached=cached)

    def _copy(
        self, wanted: dict[str, PlannedObject], into: Cache, progress: Progress
    ) -> Iterator[tuple[str, Path, bool]]:
        """What `Arrivals` reports of each file."""
        reports: queue.SimpleQueue[tuple[str, Path, bool] | Future[None]] = queue.SimpleQueue()
        arrivals = Arrivals(into, lambda *report: reports.put(report))
        stopped = threading.Event()
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="makerflow-copy")
        try:
            for address, planned in wanted.items():
                file = self.local(planned.path)
                job = pool.submit(copy_into_cache, file, planned, address, arrivals, progress, stopped)
                job.add_done_callback(reports.put)
            running = len(wanted)
            while running:
                try:
                    report = reports.get(timeout=SETTLE_SECONDS)
                except queue.Empty:
                    arrivals.settle()
                    continue
                if isinstance(report, Future):
                    report.result()
                    running -= 1
                else:
                    yield report
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            arrivals.settle()
        while not reports.empty():
            report = reports.get()
            if not isinstance(report, Future):
                yield report

    def upload(self, files: Iterable[LocalFile], to: StoragePath, progress: Progress) -> Iterator[Uploaded]:
        """See `Storage.upload`."""

        def put(file: LocalFile) -> Uploaded:
            path = to / file.key
            with _said_clearly(path, "write"):
                status = put_file(file.path, self.local(path), progress)
            return Uploaded(file.key, path, status.st_size, file_etag(status))

        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="makerflow-copy")
        try:
            for job in as_completed([pool.submit(put, file) for file in files]):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def check(self, path: StoragePath, rights: Rights) -> None:
        """See `Storage.check`."""
        if Rights.READ in rights:
            place = self._existing(path)
            with _said_clearly(path, "read"):
                place.open("rb").close() if place.is_file() else os.scandir(place).close()
        if Rights.WRITE in rights:
            place = self.local(path)
            with _said_clearly(path, "write"):
                place = _nearest(place)
                if not place.is_dir():
                    raise _in_the_way(path, place)
                # Not `os.access`, which says nothing about read-only file systems and roots. It has no name.
                tempfile.TemporaryFile(dir=place).close()

    def delete(self, path: StoragePath) -> int:
        """See `Storage.delete`."""
        check_deletable(path)
        place = self.local(path)
        with _said_clearly(path, "delete"):
            if place.is_symlink() or place.is_file():
                place.unlink()
                return 1
            files = sum(len(names) for _, _, names in os.walk(place))
            if place.is_dir():
                shutil.rmtree(place)
            return files

    def local(self, path: StoragePath | str) -> Path:
        """Where a path of this store is on this machine.

        Raises:
            InvalidInputError: A symlink leads it out of the mount point.
        """
        place = path if isinstance(path, StoragePath) else StoragePath.parse(path)
        local = self._mount / place.key
        if place.scheme is Scheme.NAS:
            real = Path(os.path.realpath(local))
            if not real.is_relative_to(self._mount):
                raise InvalidInputError(
                    f"{place} is refused", f"a symlink leads it to {real}", "Name a path in the NAS."
                )
        return local

    def _existing(self, path: StoragePath) -> Path:
        place = self.local(path)
        with _said_clearly(path, "read"):
            if not (place.is_file() or place.is_dir()):
                raise InputMissingError(str(path))
        return place


def _files(place: Path) -> Iterator[str]:
    """The names of the files at and below `place` that are not temporary."""
    for _, folders, names in os.walk(place):
        folders[:] = [folder for folder in folders if not is_temporary(folder)]
        yield from (name for name in names if not is_temporary(name))


@contextmanager
def _said_clearly(path: StoragePath, right: str) -> Iterator[None]:
    """What the system's errors mean for a request on `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputMissingError(str(path), f"{error.filename} vanished") from error
    except PermissionError as error:
        raise _denied(path, right, str(error)) from error
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        # Where there are two names, the first is that of our temporary file.
        raise _in_the_way(path, Path(error.filename2 or error.filename)) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise _denied(path, right, "the file system is read-only") from error
        raise StorageUnavailableError(str(path), str(error)) from error


def _denied(path: StoragePath, right: str, why: str) -> AccessDeniedError:
    user = f"the user {os.getuid()}, as whom this runs (on Kubernetes: MAKERFLOW_RUN_AS_USER),"
    return AccessDeniedError(path.store, str(path), right, why, f"Let {user} {right} it, then try again.")


def _in_the_way(path: StoragePath, place: Path) -> InvalidInputError:
    nearest = _nearest(place)
    why = f"there is a {'folder' if nearest.is_dir() else 'file'} at {nearest}"
    return InvalidInputError(f"{path} is refused", why, "Move it, or name another path.")


def _nearest(place: Path) -> Path:
    """What there is of `place`: itself, or of what is above it the nearest."""
    while not os.path.lexists(place):
        place = place.parent
    return place


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), file_etag(status))


def _prefix(path: StoragePath) -> str:
    text = str(path)
    return text if text.endswith("/") else f"{text}/"
