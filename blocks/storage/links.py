"""Hard links out of the cache, and copies where the file system refuses them."""

import errno
import os
import shutil
import uuid
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from blocks.storage.disk import disk_limits

_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
READ_ONLY = 0o444


def place_link(file: str, target: str) -> bool:
    """Hard-link `file` to `target`, replacing what else is there; False where the file system refuses links.

    Raises:
        InvalidInputError: A directory is in the target's place.
    """
    try:
        os.link(file, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return place_link(file, target)
    except FileExistsError:
        return _is_done(file, target) or place_link(file, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def place_copy(file: str, target: str) -> bool:
    """Copy `file` to `target` in one step; False when somebody wrote to it meanwhile.

    Raises:
        CapacityError: The target's disk is full.
        InvalidInputError: A directory is in the target's place.
    """
    folder = os.path.dirname(target)
    temporary = f"{folder}/.makerflow-{uuid.uuid4().hex}~"
    before = os.stat(file)
    os.makedirs(folder, exist_ok=True)
    _check_no_directory(target)
    with disk_limits(Path(folder), before.st_size):
        try:
            shutil.copyfile(file, temporary)
            os.chmod(temporary, READ_ONLY)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return same_content(before, os.stat(file))


def same_content(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody wrote between the two; links may have come and gone."""
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def _is_done(file: str, target: str) -> bool:
    """Whether the link is there already; what else is there is removed."""
    _check_no_directory(target)
    if os.path.samestat(os.lstat(target), os.stat(file)):
        return True
    os.unlink(target)  # what an interrupted staging left
    return False


def _check_no_directory(target: str) -> None:
    if os.path.isdir(target) and not os.path.islink(target):
        raise InvalidInputError(f"{target} cannot be staged", "a directory is in its place", "Remove that directory.")
