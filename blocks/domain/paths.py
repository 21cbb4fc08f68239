"""Storage paths: `obs://{endpoint}/{container}/{path}`, `s3://bucket/path`, `nas://{id}:/{path}`, `file:///path`.

A path is parsed once, at the edge, and printed back exactly: `str(StoragePath.parse(text))` names the same objects as
`text`. What is refused, and why, is in `_flaw`: the rules that keep a key inside the directory it is staged to.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from blocks.domain.errors import InvalidInputError

MAX_KEY_BYTES = 1024
"""S3's own limit on an object's key, in bytes of UTF-8."""

MAX_SEGMENT_BYTES = 255
"""The usual limit of a file system on one name, in bytes of UTF-8: a longer segment could not be staged."""

FORMS = "obs://{endpoint}/{container}/{path}, s3://{bucket}/{path}, nas://{NAS ID}:/{path} or file:///{path}"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
_ENDPOINT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?", re.ASCII)
_NAS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)


class Scheme(StrEnum):
    """Which kind of store a path is in."""

    OBS = "obs"
    S3 = "s3"
    NAS = "nas"
    FILE = "file"


@dataclass(frozen=True)
class StoragePath:
    """A place in a store.

    Attributes:
        scheme: The kind of store.
        authority: `obs`: the endpoint's host and port; `nas`: the NAS ID; else empty.
        bucket: The bucket or container; empty for `nas` and `file`.
        key: `/`-separated, without a leading or trailing slash; empty for the root. Taken literally: `%20` is three
            characters, as in the AWS command line.
    """

    scheme: Scheme
    authority: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "StoragePath":
        """Read a path.

        Raises:
            InvalidInputError: The form is wrong or the key is one that is never staged; it says which rule.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in set(Scheme):
            raise _invalid(text, f"it has none of the known forms {FORMS}")
        parsed = _PARSERS[Scheme(scheme)](text, rest)
        _check_key(text, parsed.key)
        return parsed

    def __str__(self) -> str:
        match self.scheme:
            case Scheme.OBS:
                root = f"obs://{self.authority}/{self.bucket}"
            case Scheme.S3:
                root = f"s3://{self.bucket}"
            case Scheme.NAS:
                return f"nas://{self.authority}:/{self.key}"
            case Scheme.FILE:
                return f"file:///{self.key}"
        return f"{root}/{self.key}" if self.key else root

    def __truediv__(self, relative: str) -> "StoragePath":
        """The path of `relative` below this one.

        Raises:
            InvalidInputError: `relative` is empty or would leave this path.
        """
        key = f"{self.key}/{relative}" if self.key else relative
        if not relative:
            raise _invalid(str(self), "an empty name cannot be joined to it")
        _check_key(f"{self}/{relative}", key)
        return StoragePath(self.scheme, self.authority, self.bucket, key)

    def holds(self, other: "StoragePath") -> bool:
        """Whether `other` is this path or below it."""
        return self.store == other.store and f"{other.key}/".startswith(f"{self.key}/" if self.key else "")

    @property
    def name(self) -> str:
        """The last segment; for a root the bucket's or NAS's name."""
        return self.key.rpartition("/")[2] or self.bucket or self.authority

    @property
    def is_object_store(self) -> bool:
        """Whether it is in an object store rather than a directory."""
        return self.scheme in (Scheme.OBS, Scheme.S3)

    @property
    def store(self) -> str:
        """The store without the key, for messages and look-ups: `s3://bucket`, `nas://id:/`, `file:///`."""
        return str(StoragePath(self.scheme, self.authority, self.bucket, ""))


def check_relative_key(key: str) -> str:
    """Return `key` when it can be staged below any directory, i.e. can never name a place outside it.

    Raises:
        InvalidInputError: It says which rule the key breaks.
    """
    why = "it is empty" if not key else _flaw(key)
    if why:
        remedy = "Use a path below the directory, such as train.py or data/part-1.csv."
        raise InvalidInputError(f"The name {key[:200]!r} is refused", why, remedy)
    return key


def _check_key(text: str, key: str) -> None:
    if why := _flaw(key):
        raise _invalid(text, why)


def _flaw(key: str) -> str:
    """Why a key is never staged; empty when it can be. The root's key is empty, and fine."""
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return f"its key is longer than {MAX_KEY_BYTES} bytes"
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in key):
        return "its key holds a control character (NUL, newline, ...) or a lone surrogate"
    if "\\" in key:
        return "its key holds a backslash, which separates folders on Windows"
    for segment in key.split("/") if key else ():
        if segment in ("", ".", ".."):
            return f"its key holds the segment {segment!r}, which names no object"
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            return f"its key holds a name longer than {MAX_SEGMENT_BYTES} bytes"
    return ""


def _parse_bucket(text: str, scheme: Scheme, authority: str, rest: str) -> StoragePath:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _invalid(text, f"{bucket!r} is no name of a bucket or container")
    return StoragePath(scheme, authority, bucket, key.removesuffix("/"))


def _parse_obs(text: str, rest: str) -> StoragePath:
    endpoint, _, remainder = rest.partition("/")
    if not _ENDPOINT.fullmatch(endpoint):
        raise _invalid(text, f"{endpoint!r} is no endpoint (host or host:port)")
    return _parse_bucket(text, Scheme.OBS, endpoint, remainder)


def _parse_s3(text: str, rest: str) -> StoragePath:
    return _parse_bucket(text, Scheme.S3, "", rest)


def _parse_nas(text: str, rest: str) -> StoragePath:
    nas, separator, key = rest.partition(":/")
    if not separator or not _NAS_ID.fullmatch(nas):
        raise _invalid(text, "it does not have the form nas://{NAS ID}:/{path}")
    return StoragePath(Scheme.NAS, nas, "", key.removesuffix("/"))


def _parse_file(text: str, rest: str) -> StoragePath:
    if not rest.startswith("/"):
        raise _invalid(text, "a file path is absolute and has three slashes: file:///data/train")
    return StoragePath(Scheme.FILE, "", "", rest[1:].removesuffix("/"))


_PARSERS = {Scheme.OBS: _parse_obs, Scheme.S3: _parse_s3, Scheme.NAS: _parse_nas, Scheme.FILE: _parse_file}


def _invalid(text: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"The path {text[:200]!r} is refused", why, f"Use {FORMS}.")
