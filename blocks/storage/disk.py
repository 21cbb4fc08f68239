"""A full disk, said clearly."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.domain.errors import CapacityError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk_limits(directory: Path, size: int) -> Iterator[None]:
    """Writing `size` bytes below `directory`.

    Raises:
        CapacityError: The disk or the quota has no room; it names both.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise no_room(directory, size) from error


def is_full(error: OSError) -> bool:
    """Whether it says that a disk, a quota or the largest size of a file leaves no room."""
    return error.errno in _FULL


def no_room(directory: Path, size: int) -> CapacityError:
    """The error of a disk that cannot take `size` bytes more."""
    return CapacityError(
        f"The disk of {directory} is full",
        f"{size:,} bytes",
        f"{free_bytes(directory):,} bytes",
        "Free some space there, or give a path on a larger disk (MAKERFLOW_HOME is one, too), then try again.",
    )


def free_bytes(directory: Path) -> int:
    """What this process may still write on the disk of `directory`."""
    return shutil.disk_usage(directory).free
