"""`python -m deployments.kubernetes.image`: makes the platform's container image without a container engine.

The archive that it writes is an OCI layout: `skopeo copy oci-archive:FILE docker://NAME` brings it to a registry,
`ctr images import FILE` into a node's containerd, `podman load -i FILE` or `docker load -i FILE` onto a machine.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from blocks.domain.errors import InvalidInputError, MakerflowError
from deployments.kubernetes import machine
from deployments.kubernetes.archive import Image, read_archive, write_archive
from deployments.kubernetes.environment import PLACE, certificates, environment_contents, is_product, make_environment
from deployments.kubernetes.layer import Content, Contents, Layer, names_in, write_layer

NO_BASE = "none"
HOME = "/var/lib/makerflow"
USER = "1000:1000"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INTERPRETERS = (f"usr/local/bin/python{machine.VERSION}", f"usr/bin/python{machine.VERSION}")
_BEGAN = time.monotonic()


def main(arguments: Sequence[str]) -> int:
    """Make an image; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="makerflow-image-") as directory:
            digest = make_image(options.base, options.source, options.name, options.output, Path(directory))
    except MakerflowError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    _say(f"{options.output}: {options.output.stat().st_size >> 20} MiB, {options.name}")
    print(digest)
    return 0


def make_image(base: str, source: Path, name: str, output: Path, directory: Path) -> str:
    """Make an image and write its archive; its digest.

    Args:
        base: The archive of the image below; `none` for this machine's interpreter and libraries.
        source: The checkout that is installed.
        name: By which name the image is to be known.
        output: Where the archive is written.
        directory: An empty one to work in.

    Raises:
        InvalidInputError: The base does not fit, or the packages cannot be installed.
    """
    below = Image(architecture=_architecture()) if base == NO_BASE else _read_base(Path(base))
    interpreter = f"usr/local/bin/python{machine.VERSION}" if base == NO_BASE else _interpreter(below, base)
    _say("Installing the packages ...")
    make_environment(source, directory / "environment")
    contents = environment_contents(directory / "environment", f"/{interpreter}")
    layers = [*below.layers]
    if base == NO_BASE:
        layers.append(_packed("interpreter", _without_base(directory, contents), directory))
    packages = {path: content for path, content in contents.items() if not is_product(path)}
    product = {path: content for path, content in contents.items() if is_product(path)}
    layers += [_packed("packages", packages, directory), _packed("product", product, directory)]
    _say("Writing the archive ...")
    return write_archive(Image(tuple(layers), _config(below), below.architecture), name, output)


def _read_base(file: Path) -> Image:
    _say(f"Reading {file} ...")
    return read_archive(file, _architecture())


def _interpreter(base: Image, file: str) -> str:
    """Where a base image has the Python for which packages are installed here.

    Raises:
        InvalidInputError: It has none, or its programs are of another kind than this machine's.
    """
    names = set().union(*map(names_in, base.layers))
    if any("/ld-musl-" in f"/{name}" for name in names):
        raise InvalidInputError(
            f"The base image {file}", "it has musl, not glibc", "Give one of Debian, e.g. a slim one."
        )
    for path in _INTERPRETERS:
        if path in names:
            return path
    why = f"it has no /{' and no /'.join(_INTERPRETERS)}"
    raise InvalidInputError(f"The base image {file}", why, "Run this with the Python of the version that it has.")


def _without_base(directory: Path, environment: Contents) -> Contents:
    _say("Taking this machine's interpreter and libraries ...")
    work = directory / "interpreter"
    contents = {**machine.root(), **machine.interpreter(work)}
    needed = machine.libraries(machine.elf_files(directory / "environment"))
    own = {path: content for path, content in needed.items() if not path.startswith(str(directory)[1:])}
    return {**contents, **own, CERTIFICATES: Content(link=certificates(environment))}


def _packed(name: str, contents: Contents, directory: Path) -> Layer:
    layer = write_layer(contents, directory / f"{name}.tar")
    _say(f"Layer {name}: {len(contents)} files, {layer.size >> 20} MiB")
    return layer


def _config(base: Image) -> dict[str, object]:
    before = base.environment
    environment = {
        **before,
        "PATH": f"/{PLACE}/bin:{before.get('PATH', _USUAL_PATH)}",
        "HOME": HOME,
        "USER": "makerflow",  # whatever number the cluster gives it, which no file may know
        "LANG": "C.UTF-8",
        "MAKERFLOW_HOME": HOME,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if not base.layers:
        environment["SSL_CERT_FILE"] = f"/{CERTIFICATES}"
    return {
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "User": USER,
        "Cmd": ["makerflow", "--help"],
        "WorkingDir": "/",
        "Labels": {"org.opencontainers.image.title": "makerflow", "org.opencontainers.image.version": _version()},
    }


def _architecture() -> str:
    found = platform.machine()
    return _ARCHITECTURES.get(found, found)


def _version() -> str:
    try:
        return version("makerflow")
    except PackageNotFoundError:
        return "0"


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.kubernetes.image",
        description="Make the platform's container image without a container engine, as an archive of an OCI layout.",
        epilog="skopeo copy oci-archive:FILE docker://NAME brings it to a registry.",
    )
    parser.add_argument(
        "--base",
        default=NO_BASE,
        metavar="FILE",
        help="an archive of the image below, with a Python of this version and glibc (skopeo copy "
        "docker://python:3.11-slim oci-archive:FILE); `none` takes this machine's interpreter and libraries (default)",
    )
    parser.add_argument("--name", required=True, help="e.g. registry.example.com/makerflow:0.1.0")
    parser.add_argument("--output", type=Path, default=Path("makerflow.tar"), metavar="FILE", help="(makerflow.tar)")
    parser.add_argument("--source", type=Path, default=Path(), metavar="DIR", help="the checkout (this directory)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
