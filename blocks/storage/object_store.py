"""Storage in any S3-compatible object store."""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.domain.errors import (
    AccessDeniedError,
    CredentialsRefusedError,
    InputMissingError,
    InvalidInputError,
    MakerflowError,
    UnknownStoreError,
)
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedObject
from blocks.storage.arrivals import Arrivals
from blocks.storage.background import from_event_loop
from blocks.storage.base import Entry, Fetched, LocalFile, Progress, Rights, Storage, Uploaded, check_deletable
from blocks.storage.cache import Cache
from blocks.storage.connection import Connection
from blocks.storage.digests import is_md5
from blocks.storage.disk import disk_limits
from blocks.storage.keys import check_keys
from blocks.storage.patience import Patience
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_control import Answer, S3Control, etag_of, is_encrypted
from blocks.storage.s3_errors import DELETE_OBJECT, READ_LIST, READ_OBJECT, WRITE_OBJECT, tls_error

if TYPE_CHECKING:
    from blocks.storage.s3_download import Source

_CHECK_ATTEMPTS = 3
"""A check answers a person: it does not wait as long as a transfer."""

_ENDLESS_SECONDS = 24 * 3600
"""A request may take long as long as it moves: `Patience` says what that means."""

_DELETED_AT_ONCE = 1000


class ObjectStorage(Storage):
    """The buckets of one endpoint, opened with one account.

    Args:
        path: Any path in the store: it names the endpoint.
        connection: None for the usual AWS environment and files.
        patience: How long it is waited for.
    """

    def __init__(self, path: StoragePath, connection: Connection | None, patience: Patience) -> None:
        self._clients = S3Clients(path, connection, patience)
        self._patience = patience
        self._control = S3Control(self._clients, patience)
        self._hasty = S3Control(self._clients, replace(patience, attempts=min(_CHECK_ATTEMPTS, patience.attempts)))

    def plan(self, path: StoragePath) -> list[PlannedObject]:
        """See `Storage.plan`."""
        alone = self._control.head(path) if path.key else None
        below = [
            PlannedObject(key=key, path=_shown(path, key), size=answer["Size"], etag=etag_of(answer))
            for key, answer in self._below(path)
        ]
        if alone and not _is_marker(alone, below):
            if below:
                raise InvalidInputError(
                    f"{path}", f"it is an object and a folder ({below[0].path}) at once", "Move one."
                )
            return [PlannedObject(key=path.name, path=str(path), size=alone["ContentLength"], etag=etag_of(alone))]
        if not below:
            raise InputMissingError(str(path))
        check_keys([planned.key for planned in below], path)
        return sorted(below, key=lambda planned: planned.key)

    def entries(self, path: StoragePath, *, recursive: bool = False) -> Iterator[Entry]:
        """See `Storage.entries`."""
        if path.key and (alone := self._hasty.head(path)):
            yield Entry(path.name, alone["ContentLength"], alone["LastModified"], etag_of(alone))
        prefix = _prefix(path)
        for page in self._hasty.pages(path, prefix, **({} if recursive else {"Delimiter": "/"})):
            found = [_entry(answer, prefix) for answer in page.get("Contents", ()) if answer["Key"] != prefix]
            folders = [
                Entry(f["Prefix"][len(prefix) :].removesuffix("/"), None, None, "")
                for f in page.get("CommonPrefixes", ())
            ]
            yield from sorted(found + folders, key=lambda entry: entry.key)

    def is_empty(self, path: StoragePath) -> bool:
        """See `Storage.is_empty`."""
        try:
            if path.key and self._hasty.head(path):
                return False
            page = self._hasty.call("list_objects_v2", path, READ_LIST, Prefix=_prefix(path), MaxKeys=2)
        except CredentialsRefusedError:
            raise
        except AccessDeniedError:
            return False  # it cannot be known
        return all(_is_folder_marker(answer) for answer in page.get("Contents", ()))

    def addresses(self, objects: Sequence[PlannedObject]) -> list[str]:
        """An MD5 names content wherever it lies; any other ETag does so only for its own path."""
        return [f"md5-{o.etag}-{o.size}" if is_md5(o.etag) else self._own_address(o) for o in objects]

    def fetch(self, objects: Sequence[PlannedObject], into: Cache, progress: Progress) -> Iterator[Fetched]:
        """See `Storage.fetch`."""
        by_address: dict[str, list[PlannedObject]] = {}
        for planned, address in zip(objects, self.addresses(objects), strict=True):
            by_address.setdefault(address, []).append(planned)
        for address, file in into.find(by_address).items():
            yield from (Fetched(planned, file, cached=True) for planned in by_address.pop(address))
        if not by_address:
            return
        into.make_room(sum(into.missing_bytes(address, same[0].size) for address, same in by_address.items()))
        for address, file, cached in self._download(by_address, into, progress):
            yield from (Fetched(planned, file, cached=cached or i > 0) for i, planned in enumerate(by_address[address]))

    def upload(self, files: Iterable[LocalFile], to: StoragePath, progress: Progress) -> Iterator[Uploaded]:
        """See `Storage.upload`."""
        from blocks.storage.s3_upload import Uploads  # the clients are imported by those who use them

        return Uploads(self._clients, self._control, self._patience, progress).run(list(files), to)

    def check(self, path: StoragePath, rights: Rights) -> None:
        """See `Storage.check`."""
        if Rights.READ in rights:
            self._check_read(path)
        if Rights.WRITE in rights:
            self._check_write(path)
        if self._clients.has_own_authority:
            self._check_certificate(path)

    def delete(self, path: StoragePath) -> int:
        """See `Storage.delete`."""
        check_deletable(path)
        keys = [answer["Key"] for answer in self._control.objects(path, _prefix(path))]
        if path.key and self._control.head(path):
            keys.append(path.key)
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self._delete_some(path, keys[start : start + _DELETED_AT_ONCE])
        return len(keys)

    def _delete_some(self, path: StoragePath, keys: list[str]) -> None:
        """Delete together; what is left, because the store knows no such request or refuses some, one by one."""
        try:
            request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = self._control.call("delete_objects", path, DELETE_OBJECT, Delete=request)
            left = [refused["Key"] for refused in answer.get("Errors", ())]
        except UnknownStoreError:
            left = keys
        for key in left:
            self._control.call("delete_object", replace(path, key=key), DELETE_OBJECT, Key=key)

    def _below(self, path: StoragePath) -> Iterator[tuple[str, Answer]]:
        """Relative key and answer of each object below `path`, without the markers of folders."""
        prefix = _prefix(path)
        for answer in self._control.objects(path, prefix):
            if not _is_folder_marker(answer):
                yield answer["Key"][len(prefix) :], answer

    def _own_address(self, planned: PlannedObject) -> str:
        place = StoragePath.parse(planned.path)
        identity = "\n".join((self._clients.endpoint_url, place.bucket, place.key, planned.etag, str(planned.size)))
        return f"at-{hashlib.sha256(identity.encode()).hexdigest()}"

    def _download(
        self, by_address: dict[str, list[PlannedObject]], into: Cache, progress: Progress
    ) -> Iterator[tuple[str, Path, bool]]:
        """What `Arrivals` reports of each object, bucket by bucket."""
        from blocks.storage.s3_download import Downloads  # the clients are imported by those who use them
        from blocks.storage.s3_objects import Wanted

        by_bucket: dict[str, list[Wanted]] = {}
        for address, same in by_address.items():
            place = StoragePath.parse(same[0].path)
            by_bucket.setdefault(place.bucket, []).append(Wanted(same[0], address, place.key))
        for wanted in by_bucket.values():
            source = self._source(StoragePath.parse(wanted[0].planned.path))

            async def work(
                emit: Callable[[tuple[str, Path, bool]], None], source: "Source" = source, wanted: list[Wanted] = wanted
            ) -> None:
                arrivals = Arrivals(into, lambda *arrived: emit(arrived))
                with disk_limits(into.directory, sum(one.planned.size for one in wanted)):
                    await Downloads(source, arrivals, self._patience, progress).run(wanted)

            yield from from_event_loop(work)

    def _source(self, inside: StoragePath) -> "Source":
        from blocks.storage.s3_download import Source

        def head(key: str) -> Answer | None:
            return self._control.head(replace(inside, key=key))

        return Source(
            store=self._clients.bulk(inside.bucket, _ENDLESS_SECONDS),
            quick_store=self._clients.bulk(inside.bucket, self._patience.quick_seconds),
            bucket=inside.bucket,
            current_etag=lambda key: etag_of(head(key) or {}),
            retry_after=lambda key: self._control.retry_after(replace(inside, key=key)),
            is_encrypted=lambda key: is_encrypted(head(key) or {}),
        )

    def _check_read(self, path: StoragePath) -> None:
        page = self._hasty.call("list_objects_v2", path, READ_LIST, Prefix=_prefix(path), MaxKeys=2)
        found = [answer["Key"] for answer in page.get("Contents", ()) if not _is_folder_marker(answer)]
        if found or path.key:
            # A GET rather than a HEAD: its answer says what is wrong.
            self._hasty.call("get_object", path, READ_OBJECT, Key=found[0] if found else path.key)["Body"].close()
        else:
            raise InputMissingError(str(path), "the bucket is empty")

    def _check_write(self, path: StoragePath) -> None:
        """Begin a multipart upload and abort it: no object or event ever appears, even without the right to delete."""
        key = f"{_prefix(path)}.makerflow-access-{uuid.uuid4().hex}"
        upload = self._hasty.call("create_multipart_upload", path, WRITE_OBJECT, Key=key)["UploadId"]
        with suppress(MakerflowError):  # only the store's housekeeping sees it, and the right to write is proven
            self._hasty.call("abort_multipart_upload", path, WRITE_OBJECT, Key=key, UploadId=upload)

    def _check_certificate(self, path: StoragePath) -> None:
        """The client of the bytes refuses certificates that the control plane's takes: it shows before a run starts."""
        from obstore import head
        from obstore.exceptions import BaseError

        try:
            head(self._clients.bulk(path.bucket, self._patience.answer_seconds), path.key or ".makerflow-access")
        except (BaseError, FileNotFoundError) as error:
            if refused := tls_error(error, str(path)):
                raise refused from error


def _prefix(path: StoragePath) -> str:
    return f"{path.key}/" if path.key else ""


def _is_folder_marker(answer: Answer) -> bool:
    return bool(answer["Size"] == 0 and answer["Key"].endswith("/"))


def _is_marker(alone: Answer, below: list[PlannedObject]) -> bool:
    """Some tools mark the folder `u` by an empty object `u`."""
    return bool(below) and alone["ContentLength"] == 0


def _shown(path: StoragePath, key: str) -> str:
    return f"{path}/{key}"


def _entry(answer: Answer, prefix: str) -> Entry:
    return Entry(answer["Key"][len(prefix) :], answer["Size"], answer["LastModified"], etag_of(answer))
