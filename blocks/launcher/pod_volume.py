"""How the sidecar and the supervisor read what the other has left in the volume that they share.

User code can write there, too: it may have put a link, a pipe, a device or a terabyte where a document is looked for.
Standard library only, Python 3.8 or later.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DELIVERING = "delivering.lock"
"""Held by the sidecar while it uploads what the worker has left."""

LEAVING = "leaving.json"
"""Left by the supervisor where the pod has to go while the sidecar is at it: who waits for others waits in vain."""

DOCUMENT_BYTES = 4 << 20


def read_bytes(file: str | os.PathLike[str], at_most: int) -> bytes:
    """The beginning of a plain file.

    Raises:
        OSError: There is none.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", os.fspath(file))
        return os.read(descriptor, at_most)
    finally:
        os.close(descriptor)


def read_object(file: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: There is no plain file.
        ValueError: It holds something else.
    """
    text = read_bytes(file, DOCUMENT_BYTES + 1)
    try:
        document = json.loads(text) if len(text) <= DOCUMENT_BYTES else None
    except RecursionError:
        document = None
    if not isinstance(document, dict):
        raise ValueError(f"{os.fspath(file)} does not hold a JSON object")
    return document


def write_object(file: str, document: object) -> None:
    """Put a JSON object at a place in one step, whatever lies where its draft is to."""
    draft = _draft(file)
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump(document, stream)
    os.replace(_name_of_draft(file), file)


def hold(file: str) -> int:
    """Hold a lock for as long as this process lives: at no time is its file there and free. The open file."""
    descriptor = _draft(file)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.replace(_name_of_draft(file), file)
    return descriptor


def is_held(file: str) -> bool | None:
    """Whether somebody who lives holds the lock; None when it is not there."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _draft(file: str) -> int:
    draft = _name_of_draft(file)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    return os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _name_of_draft(file: str) -> str:
    directory, name = os.path.split(file)
    return os.path.join(directory, "." + name)
