"""The environment that an entry point runs in: built once for each recipe, shared by all runs.

A recipe is the image's Python and packages, the `requirements.txt` on top, and where packages come from; its hash names
the directory. A `requirements.txt` that does not pin gets what was newest when its environment was built.

A directory is built in place under an exclusive lock, because a virtual environment cannot be moved, and counts once
its marker is there. Who uses one holds a shared lock on it until its process ends; what is not in use may be removed to
make room. All of it is read-only, so that a file that is linked into several environments cannot be spoilt through one,
but for `__pycache__`: there Python keeps what is really imported, a fraction of what compiling everything would take.
"""

import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TextIO

from blocks.domain.plan import RunImage
from blocks.launcher.installers import Installer, find_uv
from blocks.launcher.interpreters import existing_interpreter
from blocks.launcher.recipes import Recipe
from blocks.locks import is_at, try_lock

KEPT = 20
"""So many environments are kept; the longest unused ones go first."""

PAUSE_SECONDS = 0.05
"""Between two looks while several begin to build the same."""

MARKER = "makerflow.json"

_held: list[int] = []
"""The locks on what this process uses. They are never given back: the process is the agent of one run."""


def ensure_environment(image: RunImage, requirements: Path | None, cache: Path, log: TextIO) -> Path:
    """The interpreter of the environment of `image` with `requirements` on top, built when it is not there.

    Args:
        image: An absolute path as its `python` is an interpreter to use as it is; with packages on top, its own stay
            visible below them.
        requirements: A requirements.txt; what it refers to by relative paths is looked for beside it.
        cache: The product's cache directory.
        log: Gets what the installer prints, as it prints it.

    Returns:
        It is not removed for as long as this process lives.

    Raises:
        EnvironmentFailedError: With the installer's last words, or the interpreters that exist.
    """
    if os.path.isabs(image.python):
        interpreter = existing_interpreter(image.python)
        if not image.requirements and requirements is None:
            return interpreter
    recipe = Recipe(image, requirements)
    shelf = cache / "environments"
    shelf.mkdir(parents=True, exist_ok=True)

    def build(directory: Path, lock: int) -> None:
        recipe.build(directory, Installer(find_uv(), cache, log, keep_open=lock))

    key = recipe.key
    for generation in count():
        directory = shelf / f"{key}-{generation}"
        lock = _claim(directory, build)
        if _is_intact(directory):
            os.utime(lock)
            _held.append(lock)
            _prune(shelf, KEPT)
            return directory / "bin" / "python"
        # Changed behind our back, by a run as root or an upgrade, and maybe in use: leave it alone and build another.
        os.close(lock)
    raise AssertionError("count() does not end")  # pragma: no cover - for the type checker


def unused_environments(cache: Path, before: float) -> list[Path]:
    """The environments that nobody has begun to use since `before` (seconds of the epoch); some may be in use still."""
    files = (cache / "environments").glob("*.lock")
    return sorted(file.with_suffix("") for file in files if 0 < _last_use(file) < before * 1e9)


def remove_environment(directory: Path) -> bool:
    """Remove an environment; False when somebody uses it, or it is gone."""
    return _remove_unused(_lock_file(directory))


def _claim(directory: Path, build: Callable[[Path, int], None]) -> int:
    """A shared lock on the environment, built first when it is not there.

    The exclusive lock is never waited for: whoever has the shared one may keep it for hours.
    """
    while True:
        lock = _lock_shared(directory)
        if _is_complete(directory):
            return lock
        if try_lock(lock) and is_at(_lock_file(directory), lock):
            _complete(directory, build, lock)
            return lock
        os.close(lock)  # another one is about to build it
        time.sleep(PAUSE_SECONDS)


def _complete(directory: Path, build: Callable[[Path, int], None], lock: int) -> None:
    """Build what is not complete; the exclusive lock becomes a shared one."""
    try:
        if not _is_complete(directory):
            _remove(directory)
            build(directory, lock)
            _seal(directory)
    except BaseException:
        _remove(directory)
        os.close(lock)
        raise
    fcntl.flock(lock, fcntl.LOCK_SH)


def _lock_shared(directory: Path) -> int:
    """Wait while the environment is built or removed; a descriptor that holds a shared lock until it is closed."""
    path = _lock_file(directory)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if is_at(path, lock):
            return lock
        os.close(lock)  # it was removed with its environment while we waited


def _lock_file(directory: Path) -> Path:
    return directory.with_name(directory.name + ".lock")


def _is_complete(directory: Path) -> bool:
    """Whether it was built to the end: only then can somebody use it."""
    return (directory / MARKER).exists()


def _is_intact(directory: Path) -> bool:
    """Whether nobody has changed it since, and the interpreter below it is still there."""
    if not (directory / "bin" / "python").exists():
        return False
    try:
        return bool(json.loads((directory / MARKER).read_bytes()) == _stamp(directory))
    except (OSError, ValueError):
        return False


def _stamp(directory: Path) -> list[int]:
    """Changes when a package or a program is added, replaced or removed."""
    places = [directory / "bin", *sorted(directory.glob("lib/python*/site-packages"))]
    return [place.stat().st_mtime_ns for place in places]


def _seal(directory: Path) -> None:
    """Make it read-only, then say that it is complete."""
    for root, folders, files in os.walk(directory):
        if any(name.endswith(".py") for name in files):
            Path(root, "__pycache__").mkdir(exist_ok=True)
        for name in files:
            _chmod(Path(root, name), remove=0o222)
        folders[:] = [name for name in folders if name != "__pycache__"]
    for root, folders, _ in os.walk(directory, topdown=False):
        for name in folders:
            if name != "__pycache__":
                _chmod(Path(root, name), remove=0o222)
    partial = directory / f"{MARKER}.partial"
    partial.write_text(json.dumps(_stamp(directory)))
    partial.rename(directory / MARKER)


def _chmod(path: Path, *, remove: int = 0, add: int = 0) -> None:
    mode = path.lstat().st_mode
    wanted = (mode & ~remove) | add
    if mode != wanted and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(wanted))


def _remove(directory: Path) -> None:
    if not directory.exists():
        return
    (directory / MARKER).unlink(missing_ok=True)
    for root, folders, _ in os.walk(directory):
        for name in folders:
            _chmod(Path(root, name), add=0o700)
    shutil.rmtree(directory)


def _prune(shelf: Path, kept: int) -> None:
    """Remove the longest unused environments past `kept`, except those in use."""
    by_use = sorted((_last_use(file), file) for file in shelf.glob("*.lock"))
    for _, file in by_use[: max(len(by_use) - kept, 0)]:
        _remove_unused(file)


def _remove_unused(file: Path) -> bool:
    """Remove the environment of a lock file, if nobody uses it."""
    try:
        lock = os.open(file, os.O_RDWR)
    except FileNotFoundError:  # removed by another process, which made room at the same time
        return False
    try:
        if not (try_lock(lock) and is_at(file, lock)):
            return False
        _remove(file.with_suffix(""))
        file.unlink()
        return True
    finally:
        os.close(lock)


def _last_use(file: Path) -> int:
    """In nanoseconds of the epoch; 0 when it is gone."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
