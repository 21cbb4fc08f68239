"""Installs a requirements.txt in a pod: `{python} -I pod_installer.py DIRECTORY`, beside the requirements.txt.

It runs in a container of the user's image, before the entry point's own, with pip. What the image has already is not
installed again, so that an image with everything in it needs no package index. Standard library only, Python 3.8 or
later.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

REQUIREMENTS = "requirements.txt"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def main() -> int:
    """Install what is missing; pip's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # which the first process of a container ignores otherwise
    if is_there():
        return 0
    options = ["--no-cache-dir", "--progress-bar", "off", "--target", sys.argv[-1]]
    return subprocess.call([*PIP, "install", *options, "-r", REQUIREMENTS])


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
