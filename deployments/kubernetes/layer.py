"""A layer of a container image: the same files make the same bytes, wherever and whenever they are packed."""

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PLAIN = "application/vnd.oci.image.layer.v1.tar"
GZIP = f"{PLAIN}+gzip"

DIRECTORY_MODE = 0o755
STICKY_MODE = 0o1777
_BLOCK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Content:
    """What is at one path of an image; it belongs to root, and others may read what its owner may.

    Attributes:
        source: The file whose bytes it has; or
        data: its bytes; or
        link: what it points to. A directory has none of them.
        mode: Its permissions.
    """

    source: Path | None = None
    data: bytes | None = None
    link: str = ""
    mode: int = 0o644


Contents = Mapping[str, Content]
"""By path, without a slash at the beginning."""


@dataclass(frozen=True)
class Layer:
    """A layer that lies in a file.

    Attributes:
        file: Where it lies.
        offset: Where in the file it begins.
        size: In bytes.
        digest: Of its bytes, with the algorithm before it.
        diff_id: The same of what is packed in it; that of a plain one is its digest.
    """

    file: Path
    offset: int
    size: int
    digest: str
    diff_id: str

    @property
    def media_type(self) -> str:
        """What OCI calls it."""
        return PLAIN if self.digest == self.diff_id else GZIP


def tree(directory: Path, at: str, *, without: Iterable[str] = ()) -> dict[str, Content]:
    """The files and links below a directory, as they are to be below `at`.

    Args:
        directory: What is read.
        at: A path in the image.
        without: Names that are left out, with all below them.
    """
    left_out = frozenset(without)
    found = {}
    for parent, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in left_out]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for file in (Path(parent, name) for name in [*names, *links] if name not in left_out):
            found[str(PurePosixPath(at, file.relative_to(directory).as_posix()))] = content_of(file)
    return found


def content_of(file: Path) -> Content:
    """The content that a file or link of this machine has."""
    if file.is_symlink():
        return Content(link=os.readlink(file))
    runnable = file.stat().st_mode & stat.S_IXUSR
    return Content(source=file, mode=0o755 if runnable else 0o644)


def write_layer(contents: Contents, file: Path) -> Layer:
    """Pack contents, with the directories above them, in the order of their paths."""
    with file.open("wb") as target, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(_with_parents(contents).items()):
            _add(archive, path, content)
    return read_layer(file, 0, file.stat().st_size)


def read_layer(file: Path, offset: int, size: int) -> Layer:
    """The layer that is a part of a file, packed or not."""
    with _Part(file, offset, size) as part:
        digest = _digest(part)
    with _Part(file, offset, size) as part:
        if not part.peek(2).startswith(_GZIP_MAGIC):
            return Layer(file, offset, size, digest, digest)
        with gzip.open(part) as unpacked:
            return Layer(file, offset, size, digest, _digest(unpacked))


def names_in(layer: Layer) -> set[str]:
    """The paths of files and links that a layer has."""
    with _Part(layer.file, layer.offset, layer.size) as part, tarfile.open(fileobj=part, mode="r|*") as archive:
        return {str(PurePosixPath("/", member.name))[1:] for member in archive if not member.isdir()}


def _with_parents(contents: Contents) -> dict[str, Content]:
    parents = {str(parent) for path in contents for parent in PurePosixPath(path).parents[:-1]}
    return dict.fromkeys(parents, Content(mode=DIRECTORY_MODE)) | dict(contents)


def _add(archive: tarfile.TarFile, path: str, content: Content) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = content.mode
    if content.link:
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, content.link, 0o777
        archive.addfile(entry)
    elif content.source is not None:
        with content.source.open("rb") as source:
            entry.size = os.fstat(source.fileno()).st_size
            archive.addfile(entry, source)
    elif content.data is not None:
        entry.size = len(content.data)
        archive.addfile(entry, io.BytesIO(content.data))
    else:
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)


class _Part(io.BufferedReader):
    """A part of a file, as if it were one."""

    def __init__(self, file: Path, offset: int, size: int) -> None:
        super().__init__(_RawPart(file, offset, size))


class _RawPart(io.RawIOBase):
    def __init__(self, file: Path, offset: int, size: int) -> None:
        self._source, self._left = file.open("rb"), size
        self._source.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        room = memoryview(buffer)[: self._left]
        read = self._source.readinto(room)
        self._left -= read
        return read

    def close(self) -> None:
        self._source.close()
        super().close()


def _digest(source: io.BufferedIOBase) -> str:
    digest = hashlib.sha256()
    while block := source.read(_BLOCK):
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"
