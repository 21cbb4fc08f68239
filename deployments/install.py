"""`pip install`, at our pins, into the virtual environment that runs this: `python -m deployments.install -e .[demo]`.

With uv, which is quick and is told pip's settings of where packages come from; with pip where uv does not work. It is
the first thing that runs in a new environment, so it imports nothing but the standard library.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from blocks.launcher.pip_settings import has_no_index, installer_environment

CONSTRAINTS = ("-c", "constraints.txt")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
UV = (sys.executable, "-m", "uv", "--quiet", "pip", "install", "--python", sys.executable)


def main() -> int:
    """Install what the arguments name; the installer's exit code."""
    what = (*CONSTRAINTS, *sys.argv[1:])
    print(f"Installing into {sys.prefix} ...", flush=True)
    offline = ("--no-index",) if has_no_index(os.environ) else ()
    environment = os.environ | installer_environment(os.environ)
    if _run((*PIP, *CONSTRAINTS, "uv"), os.environ) == 0 and _run((*UV, *offline, *what), environment) == 0:
        return 0
    print("uv did not work here (see above); installing with pip, which takes longer ...", flush=True)
    return _run((*PIP, *what), os.environ)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
