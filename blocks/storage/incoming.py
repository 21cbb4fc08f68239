"""Objects on their way into the cache: partial files that outlive the process that was writing them."""

import os
from pathlib import Path

from blocks.locks import is_at, try_lock


class Incoming:
    """The partial file of one object, held by this process alone: `claim` gives it, `close` lets it go.

    The parts that have arrived are kept in a journal beside it, with their digests, so that another process can go on
    when this one dies. The lock is the kernel's, so it dies with its holder.
    """

    def __init__(self, address: str, file: Path, descriptor: int) -> None:
        self.address, self.file, self.descriptor = address, file, descriptor
        self._journal = file.with_name(f"{file.name}.parts")

    @classmethod
    def claim(cls, directory: Path, address: str) -> "Incoming | None":
        """The partial file of `address`; None while somebody else holds it."""
        file = directory / address
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            ours = try_lock(descriptor) and is_at(file, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if not ours:
            os.close(descriptor)
            return None
        return cls(address, file, descriptor)

    def resume(self, part_bytes: int) -> dict[int, str]:
        """Index to digest of the parts of this size that arrived in whole before; the journal goes on from there."""
        there = self._parts(part_bytes)
        lines = [str(part_bytes), *(f"{index} {digest} ." for index, digest in there.items())]
        self._journal.write_text("\n".join(lines) + "\n")
        return there

    def add_part(self, index: int, digest: str) -> None:
        """Note that a part is there, after `resume`. The dot proves that the line was written to its end."""
        with self._journal.open("a") as journal:
            journal.write(f"{index} {digest} .\n")

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`."""
        return os.pread(self.descriptor, size, offset)

    def write(self, data: "bytes | memoryview", offset: int) -> None:
        """Write all of `data` at `offset`."""
        write_all(self.descriptor, data, offset)

    def restart(self) -> None:
        """Forget every byte that has arrived."""
        self._journal.unlink(missing_ok=True)
        os.ftruncate(self.descriptor, 0)

    def settle(self, target: Path) -> os.stat_result:
        """Put the complete file at `target`, read-only; the lock stays until `close`."""
        os.fchmod(self.descriptor, 0o444)
        try:
            os.rename(self.file, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.file, target)
        self._journal.unlink(missing_ok=True)
        return os.fstat(self.descriptor)

    def discard(self) -> None:
        """Remove what there is of it, and let others have it."""
        self._journal.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others have it."""
        os.close(self.descriptor)

    def _parts(self, part_bytes: int) -> dict[int, str]:
        try:
            lines = self._journal.read_text().splitlines()
        except FileNotFoundError:
            return {}
        if not lines or lines[0] != str(part_bytes):
            return {}
        whole = (line.split() for line in lines[1:])
        return {int(fields[0]): fields[1] for fields in whole if len(fields) == 3 and fields[2] == "."}


def write_all(descriptor: int, data: "bytes | memoryview", offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while len(view):
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
