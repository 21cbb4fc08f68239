"""uv, and pip where uv is missing: make a virtual environment, install packages into it."""

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from blocks.domain.errors import EnvironmentFailedError
from blocks.launcher.pip_settings import has_no_index, installer_environment

MESSAGE_LINES = 25
"""So much of an installer's last words goes into the error."""

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Installer:
    """Runs the installing programs.

    Attributes:
        uv: uv's program; None to use pip.
        cache: The product's cache directory; uv's own lies in it, on one file system with the environments, so that
            packages are hard links.
        log: What the programs print goes here as they print it.
        keep_open: A descriptor that the programs inherit: our lock, which so outlives us for as long as they do.
    """

    uv: str | None
    cache: Path
    log: TextIO
    keep_open: int

    def create(self, python: Path, directory: Path) -> None:
        """Make an empty virtual environment of `python`."""
        what = f"A virtual environment of {python}"
        if self.uv:
            self._run(what, [self.uv, "venv", "--quiet", "--no-project", "--python", python, directory])
        else:
            self._run(what, [python, "-m", "venv", directory])

    def install(self, what: str, directory: Path, requirements: Sequence[str | Path], folder: Path) -> None:
        """Install `requirements` (arguments as of `pip install`); relative paths in them start at `folder`."""
        python = directory / "bin" / "python"
        if self.uv:
            offline = ["--no-index"] if has_no_index(os.environ) else []
            arguments = ["pip", "install", "--no-editable", "--python", python, *offline, *requirements]
            self._run(what, [self.uv, *arguments], folder)
        else:
            self.install_with_pip(what, directory, requirements, folder)

    def install_with_pip(self, what: str, directory: Path, requirements: Sequence[str | Path], folder: Path) -> None:
        """The same with pip, which unlike uv counts packages outside of `directory` as installed."""
        python = directory / "bin" / "python"
        self._run(what, [python, "-m", "pip", "install", "--no-input", *requirements], folder)

    def ask(self, what: str, python: Path, program: str) -> str:
        """What `program`, run by `python` without our environment, prints."""
        return "\n".join(self._run(what, [python, "-I", "-c", program]))

    def _run(self, what: str, command: Sequence[str | Path], folder: Path | None = None) -> list[str]:
        """Run to the end and return the last lines.

        Raises:
            EnvironmentFailedError: The program failed; with its last lines.
        """
        environment = installer_environment(os.environ) | {
            "UV_CACHE_DIR": str(self.cache / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "PIP_NO_COLOR": "1",
            "PIP_PROGRESS_BAR": "off",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "NO_COLOR": "1",
        }
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder or self.cache,
            pass_fds=(self.keep_open,),
            start_new_session=True,
            text=True,
            errors="replace",
        ) as process:
            try:
                lines = self._repeat(process.stdout or ())
                code = _exit_code(process)
            except BaseException:
                # Whatever interrupts us (a stop, the time limit), what we started ends with us.
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if code:
            raise EnvironmentFailedError(what, "\n".join(lines) or f"(nothing; it ended with {code})")
        return list(lines)

    def _repeat(self, output: Iterable[str]) -> deque[str]:
        """Log it all as it comes, and return the last lines."""
        lines: deque[str] = deque(maxlen=MESSAGE_LINES)
        for line in output:
            lines.append(self._redact(line.rstrip()))
            self.log.write(lines[-1] + "\n")
            self.log.flush()
        return lines

    def _redact(self, line: str) -> str:
        """Without credentials in URLs, and without where our cache is."""
        return _CREDENTIALS.sub("***", line).replace(f"{self.cache}/", "")


def _exit_code(process: "subprocess.Popen[str]") -> int:
    """Wait for it. `Popen.wait` would call it a success when somebody else has collected the process."""
    try:
        _, status = os.waitpid(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        process.returncode = -signal.SIGKILL
    return process.returncode


def find_uv() -> str | None:
    """The uv program that came with our dependencies; None when it is missing."""
    try:
        import uv

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError):
        return None
