"""Uploads: side by side, verified, and only what is not there already.

A small file is one PUT, which an object store does as a whole or not at all. A large one is a multipart upload; one
that was interrupted is found again and goes on, one that fails is aborted.
"""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenacity import Retrying

from blocks.domain.errors import (
    AccessDeniedError,
    CredentialsRefusedError,
    InputChangedError,
    InputMissingError,
    MakerflowError,
    PermanentError,
    StorageUnavailableError,
)
from blocks.domain.paths import StoragePath
from blocks.storage.base import LocalFile, Progress, Uploaded
from blocks.storage.digests import is_md5, md5, multipart_etag
from blocks.storage.local_files import open_collected
from blocks.storage.patience import MIB, AttemptError, Patience, retrying
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_control import Answer, S3Control, clean_etag, etag_of, is_encrypted
from blocks.storage.s3_errors import WRITE_OBJECT, bulk_error

_FEW = 8
"""So many files are asked for one by one; for more the destination is listed."""

_PART_BYTES = 8 * MIB
_PUT_SECONDS = 600
"""For a whole small file: it tells a stalled store from a line of 100 kbit/s."""

_MOST_PARTS = 10_000
_FILES_AT_ONCE = 6
_PARTS_AT_ONCE = 3


@dataclass(frozen=True)
class Uploads:
    """One call's uploads."""

    clients: S3Clients
    control: S3Control
    patience: Patience
    progress: Progress

    def run(self, files: list[LocalFile], to: StoragePath) -> Iterator[Uploaded]:
        """Upload all; yields each file as it is at its place. The first failure ends the others."""
        if not files:
            return
        there = self._there(files, to)
        pool = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="makerflow-upload")
        try:
            jobs = [pool.submit(self._one, file, to / file.key, there.get(file.key, "")) for file in files]
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _there(self, files: list[LocalFile], to: StoragePath) -> dict[str, str]:
        """Key to `{size}:{ETag}` of what is at the destination; nothing, where the account may only write."""
        try:
            return self._found(files, to)
        except CredentialsRefusedError:
            raise
        except AccessDeniedError:
            return {}

    def _found(self, files: list[LocalFile], to: StoragePath) -> dict[str, str]:
        if len(files) <= _FEW:
            heads = ((file.key, self.control.head(to / file.key)) for file in files)
            return {key: _mark(head["ContentLength"], etag_of(head)) for key, head in heads if head}
        prefix = f"{to.key}/" if to.key else ""
        found = self.control.objects(to, prefix, WRITE_OBJECT)
        return {answer["Key"][len(prefix) :]: _mark(answer["Size"], etag_of(answer)) for answer in found}

    def _one(self, file: LocalFile, path: StoragePath, there: str) -> Uploaded:
        descriptor = open_collected(file.path)
        try:
            status = os.fstat(descriptor)
            content = _Content(descriptor, status.st_size, file.path, status.st_mtime_ns)
            send = self._whole if content.size <= _PART_BYTES else self._in_parts
            etag = send(content, path, there)
        finally:
            os.close(descriptor)
        return Uploaded(file.key, path, content.size, etag)

    def _whole(self, content: "_Content", path: StoragePath, there: str) -> str:
        data = content.read(content.size, 0)
        expected = md5(data)
        if there == _mark(len(data), expected):
            self.progress(len(data))
            return expected

        def attempt() -> str:
            from obstore import put
            from obstore.exceptions import BaseError

            try:
                answer = put(self.clients.bulk(path.bucket, _PUT_SECONDS), path.key, data, use_multipart=False)
            except (BaseError, FileNotFoundError) as error:
                raise bulk_error(error, str(path), path.bucket, WRITE_OBJECT) from error
            return self._verified(path, clean_etag(answer["e_tag"]), expected, len(data))

        etag: str = Retrying(**retrying(self.patience, str(path)))(attempt)  # type: ignore[arg-type] # untyped arguments
        self.progress(len(data))
        return etag

    def _in_parts(self, content: "_Content", path: StoragePath, there: str) -> str:
        part_bytes = max(_PART_BYTES, math.ceil(content.size / _MOST_PARTS / MIB) * MIB)
        if there.startswith(f"{content.size}:"):
            etag = there.partition(":")[2]
            if etag == content.etag_like(etag, part_bytes):
                self.progress(content.size)
                return etag
        # A whole new try, since an answer that was lost may have begun an upload, which is then found.
        begin = Retrying(**retrying(self.patience, str(path)))  # type: ignore[arg-type] # untyped arguments
        upload, sent = begin(self._begin, path)
        try:
            return self._send_parts(content, path, upload, part_bytes, sent)
        except BaseException:
            with suppress(MakerflowError):  # the failure itself says more
                self._multipart("abort_multipart_upload", path, upload)
            raise

    def _begin(self, path: StoragePath) -> tuple[str, dict[int, str]]:
        """The upload of that object that was interrupted, with the ETags of its parts by number; else a new one."""
        with suppress(PermanentError):  # not every account may list, and not every store can
            listing = self.control.once(
                "list_multipart_uploads", path, WRITE_OBJECT, Bucket=path.bucket, Prefix=path.key
            )
            for found in listing.get("Uploads", ()):
                if found["Key"] == path.key:
                    return found["UploadId"], dict(self._parts(path, found["UploadId"]))
        where = {"Bucket": path.bucket, "Key": path.key}
        answer = self.control.once("create_multipart_upload", path, WRITE_OBJECT, **where)
        return answer["UploadId"], {}

    def _parts(self, path: StoragePath, upload: str) -> Iterator[tuple[int, str]]:
        marker: dict[str, object] = {}
        while True:
            answer = self._multipart("list_parts", path, upload, **marker)
            for part in answer.get("Parts", ()):
                yield part["PartNumber"], etag_of(part)
            if not answer.get("IsTruncated"):
                return
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def _send_parts(
        self, content: "_Content", path: StoragePath, upload: str, part_bytes: int, sent: dict[int, str]
    ) -> str:
        def send(number: int) -> tuple[str, str]:
            """The MD5 and the ETag of one part, which is sent unless it is there."""
            data = content.read(part_bytes, (number - 1) * part_bytes)
            expected = md5(data)
            etag = sent.get(number, "")
            if etag != expected:
                answer = self._multipart("upload_part", path, upload, PartNumber=number, Body=data)
                etag = etag_of(answer)
            self.progress(len(data))
            return expected, etag

        numbers = range(1, math.ceil(content.size / part_bytes) + 1)
        with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="makerflow-upload-part") as pool:
            jobs = [pool.submit(send, number) for number in numbers]
            try:
                done = [job.result() for job in jobs]
            finally:
                pool.shutdown(cancel_futures=True)
        content.check_unchanged()
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, (_, etag) in zip(numbers, done, strict=True)]
        expected = multipart_etag(md5 for md5, _ in done)
        try:
            answer = self._multipart("complete_multipart_upload", path, upload, MultipartUpload={"Parts": parts})
        except InputMissingError:  # an earlier attempt completed it, and its answer was lost
            if etag_of(self.control.head(path) or {}) == expected:
                return expected
            raise
        try:
            return self._verified(path, etag_of(answer), expected, content.size)
        except AttemptError as error:
            raise StorageUnavailableError(str(path), error.reason) from error

    def _multipart(self, operation: str, path: StoragePath, upload: str, **parameters: object) -> Answer:
        return self.control.call(operation, path, WRITE_OBJECT, Key=path.key, UploadId=upload, **parameters)

    def _verified(self, path: StoragePath, found: str, expected: str, size: int) -> str:
        """The ETag of what is there now, which proves its bytes or, where it is no MD5, at least its size is right.

        Raises:
            AttemptError: The store kept something else.
            AccessDeniedError: The ETag alone does not tell, and the account may not look.
        """
        if found == expected:
            return found
        head = self.control.head(path) or {}
        etag = etag_of(head)
        opaque = not is_md5(etag.partition("-")[0]) or "-" in etag or is_encrypted(head)
        if head.get("ContentLength") == size and (etag == expected or opaque):
            return etag
        raise AttemptError(f"the store kept {head.get('ContentLength', 0)} bytes with ETag {etag}, not {expected}")


@dataclass(frozen=True)
class _Content:
    """An open file of which `size` bytes are sent."""

    descriptor: int
    size: int
    path: Path
    modified_ns: int

    def read(self, size: int, offset: int) -> bytes:
        """A part, whole: the kernel gives at most 2 GiB at once. Less only where the file has become shorter."""
        data = os.pread(self.descriptor, size, offset)
        while 0 < len(data) < min(size, self.size - offset):
            more = os.pread(self.descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def etag_like(self, etag: str, part_bytes: int) -> str:
        """The ETag that the file would have, uploaded as the object with that ETag was."""
        offsets = range(0, self.size, part_bytes)
        if "-" in etag:
            return multipart_etag(md5(self.read(part_bytes, offset)) for offset in offsets)
        return md5(*(self.read(part_bytes, offset) for offset in offsets))

    def check_unchanged(self) -> None:
        """Raise InputChangedError when somebody wrote to the file since it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise InputChangedError(str(self.path), f"{self.size} bytes", f"{status.st_size} bytes, written to since")


def _mark(size: int, etag: str) -> str:
    return f"{size}:{etag}"
