"""What an environment is made of, and making it."""

import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blocks.domain.plan import RunImage
from blocks.launcher.installers import Installer
from blocks.launcher.interpreters import find_interpreter
from blocks.launcher.pip_settings import SOURCES_OF_PACKAGES, pip_settings

FORMAT = 1
"""Raised when environments have to be built in another way."""

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^]]*\]\s*)?([<>=!~;(].*)?")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")
_OPTIONS_WITH_PATHS = ("-r", "-c", "-e", "-f", "--requirement", "--constraint", "--editable", "--find-links")

_LOOK_AT_IMAGE = """
import importlib.util, json, site
print(json.dumps({"sites": site.getsitepackages(), "pip": importlib.util.find_spec("pip") is not None}))
"""


@dataclass(frozen=True)
class Recipe:
    """An image's Python and packages, with a requirements.txt on top."""

    image: RunImage
    requirements: Path | None

    @cached_property
    def key(self) -> str:
        """Equal for equal recipes."""
        settings = pip_settings(os.environ)
        facts = {
            "format": FORMAT,
            "python": self.image.python,
            "platform": [sys.platform, platform.machine(), *platform.libc_ver()],
            "image": self.image.requirements,
            "requirements": list(self._contents()),
            "pip": {name: settings[name] for name in SOURCES_OF_PACKAGES if name in settings},
            "uv": {name: value for name, value in os.environ.items() if name.startswith("UV_") and "INDEX" in name},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def build(self, directory: Path, installer: Installer) -> None:
        """Make the environment at `directory`.

        Raises:
            EnvironmentFailedError: With the installer's last words.
        """
        has_own_interpreter = os.path.isabs(self.image.python)
        python = Path(self.image.python) if has_own_interpreter else find_interpreter(self.image.python)
        installer.create(python, directory)
        install = installer.install
        if has_own_interpreter:
            _put_below(python, directory, installer)
            install = installer.install_with_pip  # it leaves alone what the image has
        if self.image.requirements:
            install(f"The packages of the image {self.image.name!r}", directory, self.image.requirements, directory)
        if self.requirements:
            folder = self._copy(directory / "source")
            install("requirements.txt", directory, ["-r", self.requirements.name], folder)
            shutil.rmtree(folder)

    def _contents(self) -> Iterator[str]:
        """The hash of the requirements.txt, and of all that lies beside it when it refers to something there."""
        if not self.requirements:
            return
        if not self._is_local:
            yield hashlib.sha256(self.requirements.read_bytes()).hexdigest()
            return
        folder = self.requirements.parent
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            with file.open("rb") as stream:
                yield f"{file.relative_to(folder)} {hashlib.file_digest(stream, 'sha256').hexdigest()}"

    @cached_property
    def _is_local(self) -> bool:
        text = self.requirements.read_text(errors="replace") if self.requirements else ""
        return any(_refers_to_a_file(line) for line in re.sub(r"\\\r?\n", " ", text).splitlines())

    def _copy(self, folder: Path) -> Path:
        """The requirements.txt, with what it refers to, at `folder`: a package's build writes beside its source."""
        source = Path(str(self.requirements))
        if self._is_local:
            shutil.copytree(source.parent, folder, symlinks=True)
            for path in (folder, *folder.rglob("*")):
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o700)
        else:
            folder.mkdir()
            shutil.copyfile(source, folder / source.name)
        return folder


def _refers_to_a_file(line: str) -> bool:
    """Whether a line of a requirements.txt names something on this machine; in doubt it does."""
    line = re.sub(r"(^|\s)#.*", "", line).strip()
    if not line or (_NAMED.fullmatch(line) and not line.endswith(_ARCHIVES)):
        return False
    if line.startswith("-") and not line.startswith(_OPTIONS_WITH_PATHS):
        return False
    return "://" not in line or "file://" in line


def _put_below(python: Path, directory: Path, installer: Installer) -> None:
    """Let the environment see the packages of `python`, below its own.

    `--system-site-packages` would show those of the interpreter that `python` itself is a virtual environment of.
    """
    what = f"The interpreter {python}"
    found = json.loads(installer.ask(what, python, _LOOK_AT_IMAGE))
    (site,) = directory.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({place!r})\n" for place in found["sites"]]
    (site / "_makerflow_image.pth").write_text("".join(lines))
    if installer.uv and not found["pip"]:
        installer.install(what, directory, ["pip"], directory)
