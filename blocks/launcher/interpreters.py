"""The Python interpreters of this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from blocks.domain.errors import EnvironmentFailedError
from blocks.launcher.pip_settings import installer_environment

PROBE = "import sys; print('%d.%d' % sys.version_info[:2], int(sys.prefix != sys.base_prefix))"


def find_interpreter(version: str) -> Path:
    """An interpreter of `version` (`3.12`) that is no virtual environment; nothing is downloaded.

    Raises:
        EnvironmentFailedError: There is none; it names those that there are.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return base_interpreter()
    for path in _candidates(version):
        if _is_interpreter(path, version):
            return path
    raise EnvironmentFailedError(
        f"Python {version}",
        f"There is no interpreter of Python {version} on this machine; it has: {', '.join(_known()) or 'none'}.\n"
        f"Install Python {version}, choose an image of another version, or give the image the path of an "
        "interpreter (python_path in catalogue.yaml).",
    )


def base_interpreter() -> Path:
    """The interpreter below our own virtual environment: it does not see our packages."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.base_prefix, "bin", name), Path(sys.base_prefix, "bin", "python3")):
        if path.exists():
            return path
    return Path(sys.executable)


def existing_interpreter(path: str) -> Path:
    """`path` when a program is there.

    Raises:
        EnvironmentFailedError: It is not.
    """
    if os.access(path, os.X_OK) and Path(path).is_file():
        return Path(path)
    raise EnvironmentFailedError(
        f"The interpreter {path}", "There is no program at this path. Correct python_path in catalogue.yaml."
    )


def _directories() -> Iterator[Path]:
    """Where interpreters lie: PATH, and where pyenv and uv keep theirs."""
    for directory in os.get_exec_path():
        # A shim is a script that asks pyenv which interpreter is meant, and fails when none is.
        if not directory.endswith("/shims"):
            yield Path(directory)
    home = Path.home()
    for root in (home / ".pyenv" / "versions", home / ".local" / "share" / "uv" / "python"):
        yield from sorted(root.glob("*/bin"), reverse=True)


def _candidates(version: str) -> Iterator[Path]:
    seen = set()
    for directory in _directories():
        path = directory / f"python{version}"
        if path.exists() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _known() -> list[str]:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions = {own} | {
        path.name.removeprefix("python")
        for directory in _directories()
        for path in directory.glob("python3.*")
        if path.name.removeprefix("python3.").isdigit()
    }
    return sorted(versions, key=lambda version: int(version.rpartition(".")[2]))


def _is_interpreter(path: Path, version: str) -> bool:
    try:
        answer = subprocess.run(
            [path, "-I", "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=installer_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split() == [version, "0"]
