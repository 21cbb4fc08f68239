"""Caches past their bounds: environments that nobody uses, Python packages, staged objects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from blocks.connections.settings import Settings
from blocks.launcher.environments import remove_environment, unused_environments
from blocks.launcher.package_cache import package_cache_bytes, trim_package_cache
from blocks.storage.cache import Cache

GIB = 2**30


@dataclass(frozen=True)
class Excess:
    """Something that a cache holds beyond its bounds.

    Attributes:
        place: Where.
        found: What is too much.
        remove: Removes it; what it did, empty when there was nothing left to do.
    """

    place: Path
    found: str
    remove: Callable[[], str]


def excesses(settings: Settings, now: datetime) -> Iterator[Excess]:
    """What the caches of this machine hold beyond their bounds."""
    cache = settings.home / "cache"
    before = now - timedelta(days=settings.keep_environments_days)
    for directory in unused_environments(cache, before.timestamp()):
        yield Excess(directory, f"an environment unused since {before:%Y-%m-%d}", _removal(directory))
    yield from _packages(cache, int(settings.package_cache_gb * GIB))
    yield from _objects(cache / "objects", int(settings.cache_gb * GIB))


def _removal(directory: Path) -> Callable[[], str]:
    return lambda: "removed" if remove_environment(directory) else ""


def _packages(cache: Path, limit: int) -> Iterator[Excess]:
    used = package_cache_bytes(cache)

    def trim() -> str:
        return f"trimmed to {_size(trim_package_cache(cache, limit))}"

    if used > limit:
        yield Excess(cache / "uv", f"{_size(used)} of Python packages, the bound is {_size(limit)}", trim)


def _objects(directory: Path, limit: int) -> Iterator[Excess]:
    if not directory.is_dir():
        return
    cache = Cache(directory, limit)
    used, abandoned = cache.total_bytes(), len(cache.abandoned())

    def trim() -> str:
        freed = cache.trim()
        return f"{_size(freed)} evicted, {abandoned} downloads removed" if freed or abandoned else ""

    if used > limit:
        yield Excess(directory, f"{_size(used)} of staged objects, the bound is {_size(limit)}", trim)
    elif abandoned:
        yield Excess(directory, f"{abandoned} downloads that nobody has gone on with for a week", trim)


def _size(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
