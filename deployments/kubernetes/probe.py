"""`python -P -m deployments.kubernetes.probe`: whether a part lives, told by the exit code. Standard library only.

`answers SOCKET TARGET` asks by HTTP over a Unix socket; `fresh FILE SECONDS` looks when a file was touched.
"""

import sys
import time
from pathlib import Path

from deployments.up.unix_http import answers


def is_fresh(file: Path, seconds: float) -> bool:
    """Whether a file was touched so recently."""
    try:
        return time.time() - file.stat().st_mtime < seconds
    except FileNotFoundError:
        return False


def main(kind: str, what: str, how: str) -> int:
    """The exit code."""
    lives = answers(Path(what), how) if kind == "answers" else is_fresh(Path(what), float(how))
    return 0 if lives else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
