"""Installs a requirements.txt in a pod: `{python} -I pod_installer.py DIRECTORY`, beside the requirements.txt.

It runs in a container of the user's image, before the entry point's own, with pip. What the image has already is not
installed again, so that an image with everything in it needs no package index. Standard library only, Python 3.8 or
later.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

REQUIREMENTS = "requirements.txt"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_INDEXES = re.compile(r"Looking in indexes: (.+)")
_UNREACHED = re.compile(r"WARNING: Retrying .* after connection broken by '(.+)': ")
_OBJECT = re.compile(r"<[^>]*>[:,] ")
_USUAL_INDEX = "https://pypi.org/simple"


def main() -> int:
    """Install what is missing; pip's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # which the first process of a container ignores otherwise
    if is_there():
        return 0
    options = ["--no-cache-dir", "--progress-bar", "off", "--target", sys.argv[-1]]
    command = [*PIP, "install", *options, "-r", REQUIREMENTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said = list(_repeat(process.stdout or ()))
    if process.returncode and (sentence := explanation(said)):
        _write(f"ERROR: {sentence}")  # what is last is what a training's reason says
    return process.returncode


def explanation(said: list[str]) -> str:
    """Why pip found no package, in one sentence, when an index is why; empty when its own last words do.

    Args:
        said: Its lines.
    """
    errors = [line[len("ERROR:") :].strip() for line in said if line.startswith("ERROR:")]
    unreached = [found[1] for found in map(_UNREACHED.match, said) if found]
    indexes = [found[1] for found in map(_INDEXES.match, said) if found]
    if not errors or not (unreached or (indexes and "No matching distribution" in errors[-1])):
        return ""
    asked = f"{errors[-1]}; pip asked {(indexes or [_USUAL_INDEX])[-1]}"
    return f"{asked} and got no answer: {_OBJECT.sub('', unreached[-1])}" if unreached else asked


def _repeat(output: Iterable[bytes]) -> Iterator[str]:
    """Print the lines as they come, without credentials in URLs."""
    for line in output:
        clean = _CREDENTIALS.sub("***", line.decode("utf-8", "replace").rstrip())
        _write(clean)
        yield clean


def _write(line: str) -> None:
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()


def is_there() -> bool:
    """Whether the image has all of it, as far as its pip can tell."""
    looking = [*PIP, "install", "--quiet", "--no-index", "--dry-run", "--report", "-", "-r", REQUIREMENTS]
    said = subprocess.run(looking, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    try:
        return bool(json.loads(said)["install"] == [])
    except (ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
