"""What proves that a file holds the bytes it should.

A digest is text: `md5:{hex}`, `sha256:{hex}`, or `parts:{bytes}:{hex}`, the SHA-256 of the CRC-32s of the parts of that
many bytes. Those are computed side by side while the parts arrive in any order, and take hardly any time with zlib-ng:
it matters for objects of gigabytes, which come without an MD5 that would have to be compared.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from zlib_ng import zlib_ng

_BLOCK = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


def is_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of the object: not that of a multipart upload, nor a directory's."""
    return _MD5.fullmatch(etag) is not None


def md5(*chunks: "bytes | memoryview") -> str:
    """The hexadecimal MD5 of the chunks together."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def multipart_etag(part_md5s: Iterable[str]) -> str:
    """The ETag that S3 gives to an object that was uploaded in parts with these MD5s."""
    digests = [bytes.fromhex(part) for part in part_md5s]
    return f"{md5(*digests)}-{len(digests)}"


class PartDigest:
    """The CRC-32 of one part."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._crc = zlib_ng.crc32(data, self._crc)

    def hexdigest(self) -> str:
        """As eight digits."""
        return f"{self._crc:08x}"


def digest_of_parts(part_bytes: int, part_digests: Iterable[str]) -> str:
    """The digest of a file from the `PartDigest` of each of its parts, in order."""
    return f"parts:{part_bytes}:{hashlib.sha256(''.join(part_digests).encode()).hexdigest()}"


def digest_like(digest: str, file: Path) -> str:
    """The digest of `file`, of the kind that `digest` is."""
    kind, _, rest = digest.partition(":")
    with file.open("rb", buffering=0) as stream:
        if kind == "parts":
            part_bytes = int(rest.partition(":")[0])
            return digest_of_parts(part_bytes, _part_digests(stream, part_bytes))
        return f"{kind}:{_digest(stream, kind)}"


def _digest(stream: BinaryIO, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    size = max(1, min(_BLOCK, os.fstat(stream.fileno()).st_size))  # a buffer no larger than the file is soon made
    while block := stream.read(size):
        digest.update(block)
    return digest.hexdigest()


def _part_digests(stream: BinaryIO, part_bytes: int) -> Iterator[str]:
    while True:
        digest, left = PartDigest(), part_bytes
        while left and (block := stream.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        if left == part_bytes:
            return
        yield digest.hexdigest()
