"""The Python environment of the image: the product and what it needs at our pins, installed as anywhere else."""

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from deployments.kubernetes.layer import Content, Contents, tree
from deployments.kubernetes.machine import VERSION, compile_below

PLACE = "opt/makerflow"
"""Where it is in the image."""

PRODUCT = ("blocks", "flows", "tasks", "deployments")
_SOURCES = (*PRODUCT, "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
_PACKAGES = f"{PLACE}/lib/python{VERSION}/site-packages"
_PERSONAL = ("direct_url.json", "uv_cache.json", "uv_build.json")
"""Where and when packages were installed from."""

_UNSURE = re.compile(rf"^(\.\./\.\./\.\./bin/[^,]*),.*$|^[^,]*/(?:{'|'.join(map(re.escape, _PERSONAL))}),.*\n", re.M)


def make_environment(source: Path, directory: Path) -> None:
    """Install the product into a new virtual environment.

    Args:
        source: A checkout. It is copied first, because building leaves files beside the sources.
        directory: Of the environment.

    Raises:
        InvalidInputError: It is no checkout, or the installation failed; the installer has said why.
    """
    copy = directory.with_suffix(".source")
    copy.mkdir(parents=True)
    for name in _SOURCES:
        _copy(source / name, copy / name)
    venv.create(directory, with_pip=True, symlinks=True)
    command = [str(directory / "bin" / "python"), "-m", "deployments.install", "."]
    if subprocess.run(command, cwd=copy, stdout=sys.stderr, check=False).returncode:
        why = "its packages could not be installed; see above"
        raise InvalidInputError("The image", why, "Mend that (pip's settings say where packages come from).")
    compile_below(directory / "lib", strip=directory, prefix=f"/{PLACE}")


def environment_contents(directory: Path, interpreter: str) -> Contents:
    """The environment as it is in the image.

    Args:
        directory: Where it was made.
        interpreter: The path of the interpreter in the image, for which it was made.
    """
    contents = tree(directory, PLACE, without=("include", *_PERSONAL))
    programs = {path: content for path, content in contents.items() if path.startswith(f"{PLACE}/bin/")}
    lists = {path: content for path, content in contents.items() if path.endswith(".dist-info/RECORD")}
    settings = f"home = {Path(interpreter).parent}\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    return {
        **contents,
        **{path: _portable(content) for path, content in lists.items()},
        **{path: _moved(content, directory) for path, content in programs.items()},
        f"{PLACE}/bin/python": Content(link=interpreter),
        f"{PLACE}/pyvenv.cfg": Content(data=settings.encode()),
    }


def is_product(path: str) -> bool:
    """Whether a path of the image is the product's own, which changes with each of its versions."""
    inside = path.removeprefix(f"{_PACKAGES}/")
    return inside != path and (inside.partition("/")[0] in PRODUCT or inside.startswith("makerflow-"))


def certificates(contents: Iterable[str]) -> str:
    """Where the environment has the certificates of public authorities, as a path of the image; empty when nowhere."""
    return next((f"/{path}" for path in contents if path.endswith("/certifi/cacert.pem")), "")


def _copy(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        why = f"there is no {source.name} in {source.parent}"
        raise InvalidInputError("The image", why, "Run this in a checkout, or name one: --source DIR.") from error


def _moved(content: Content, directory: Path) -> Content:
    """A program whose first line names the interpreter where it is in the image."""
    if content.source is None:
        return content
    data = content.source.read_bytes()
    return Content(data=data.replace(str(directory).encode(), f"/{PLACE}".encode()), mode=content.mode)


def _portable(content: Content) -> Content:
    """A list of a package's files without the digests of those that differ by where it was installed."""
    text = content.source.read_text(encoding="utf-8") if content.source else ""
    return Content(data=_UNSURE.sub(lambda found: f"{found[1]},," if found[1] else "", text).encode())
