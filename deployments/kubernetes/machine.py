"""What an image without a base takes from this machine: its Python, and the libraries that programs are linked to."""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from blocks.domain.errors import InvalidInputError
from deployments.kubernetes.layer import STICKY_MODE, Content, Contents, content_of, tree

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PREFIX = "usr/local"
"""Where the interpreter goes, as in the images of python.org's."""

_STANDARD_LIBRARY = f"lib/python{VERSION}"
_LEFT_OUT = ("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "__pycache__")
_ELF = b"\x7fELF"
_LINKED = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_ACCOUNTS = "root:x:0:0::/root:/sbin/nologin\nmakerflow:x:1000:1000::/var/lib/makerflow:/sbin/nologin\n"


def interpreter(directory: Path) -> Contents:
    """This machine's Python with its standard library, as an image needs it.

    Args:
        directory: An empty one to work in, that is kept until the image is written.
    """
    base, library = Path(sys.base_prefix), directory / _STANDARD_LIBRARY
    ignored = shutil.ignore_patterns(*_LEFT_OUT, "config-*")
    shutil.copytree(base / _STANDARD_LIBRARY, library, ignore=ignored, symlinks=True)
    compile_below(library, strip=directory, prefix=f"/{PREFIX}")
    program = base / "bin" / f"python{VERSION}"
    contents = {
        **tree(library, f"{PREFIX}/{_STANDARD_LIBRARY}"),
        f"{PREFIX}/bin/python{VERSION}": content_of(program.resolve()),
        f"{PREFIX}/bin/python3": Content(link=f"python{VERSION}"),
    }
    return {**contents, **libraries([program, *elf_files(library)])}


def root() -> Contents:
    """What programs expect of any root directory."""
    return {
        "etc/passwd": Content(data=_ACCOUNTS.encode()),
        "etc/group": Content(data=b"root:x:0:\nmakerflow:x:1000:\n"),
        "etc/nsswitch.conf": Content(data=b"hosts: files dns\n"),
        "tmp": Content(mode=STICKY_MODE),
        "var/lib/makerflow": Content(mode=0o755),
    }


def libraries(files: Iterable[Path]) -> Contents:
    """The shared libraries that programs and libraries are linked to, each where the loader will look for it.

    Raises:
        InvalidInputError: This machine's `ldd` cannot tell.
    """
    command = ["ldd", *map(str, files)]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise InvalidInputError("An image without a base", f"it needs ldd ({error})", "Give --base.") from error
    found = set(_LINKED.findall(said))
    usual = next((str(Path(file).parent) for file in found if Path(file).name == "libc.so.6"), "/usr/lib")
    return {_place(file, usual): Content(source=Path(file).resolve(), mode=0o755) for file in found}


def elf_files(directory: Path) -> Iterator[Path]:
    """The programs and libraries below a directory."""
    for parent, _, names in os.walk(directory):
        for file in (Path(parent, name) for name in names):
            if not file.is_symlink() and (file.suffix == ".so" or ".so." in file.name or os.access(file, os.X_OK)):
                with file.open("rb") as source:
                    if source.read(len(_ELF)) == _ELF:
                        yield file


def compile_below(directory: Path, *, strip: Path, prefix: str) -> None:
    """Make the bytecode of every module: a root that cannot be written to would have it made at each start.

    It does not depend on dates, which images have none of.

    Args:
        directory: Where the modules are.
        strip: What their paths begin with here.
        prefix: What they begin with in the image.
    """
    compileall.compile_dir(
        directory,
        quiet=2,
        force=True,
        workers=0,
        stripdir=str(strip),
        prependdir=prefix,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _place(library: str, usual: str) -> str:
    """Where a library goes: the interpreter's own to where the loader looks for all, else to where it is."""
    base = sys.base_prefix.rstrip("/")
    own = base != "/usr" and library.startswith(f"{base}/")
    return f"{usual}/{Path(library).name}"[1:] if own else library[1:]
