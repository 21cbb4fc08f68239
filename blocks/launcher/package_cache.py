"""The bound of uv's cache of packages, from which environments are built."""

import os
import subprocess
from pathlib import Path

from blocks.launcher.installers import find_uv

_PATIENCE_SECONDS = 600


def package_cache_bytes(cache: Path) -> int:
    """What uv's cache takes on the disk; a file that environments share with it counts."""
    inodes: dict[int, int] = {}
    for folder, _, names in os.walk(cache / "uv"):
        for name in names:
            try:
                status = os.lstat(f"{folder}/{name}")
            except FileNotFoundError:
                continue
            inodes[status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())


def trim_package_cache(cache: Path, limit_bytes: int) -> int:
    """Have uv remove what it can do without, then all, until the rest is within the bound; the bytes that are left.

    Environments stay whole, and uv waits for installations that go on.

    Raises:
        subprocess.SubprocessError: uv failed, or an installation takes too long.
    """
    left, uv = package_cache_bytes(cache), find_uv()
    for command in ("prune", "clean"):
        if uv is not None and left > limit_bytes:
            arguments = [uv, "cache", command, "--quiet", "--cache-dir", str(cache / "uv")]
            subprocess.run(arguments, check=True, capture_output=True, timeout=_PATIENCE_SECONDS)
            left = package_cache_bytes(cache)
    return left
