"""What the programs that show boards have in common: arguments, an end, and a word for having nothing to show."""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

NOTHING_TO_SHOW = 66
"""The exit code of one that finds nothing of that id: BSD's for an input that is not there."""

_PR_SET_PDEATHSIG = 1


def board_command(program: Sequence[str], subject: str, prefix: str, socket: Path) -> list[str]:
    """The command that shows a subject as pages below `prefix`; it ends when this process does."""
    own = ("--parent", str(os.getpid()), "--subject", subject, "--prefix", prefix, "--socket", str(socket))
    return [*program, *own]


def read_board_command() -> argparse.Namespace:
    """The `subject`, `prefix` and `socket` of such a command; from now on this process is killed with its parent."""
    parser = argparse.ArgumentParser()
    for option in ("--subject", "--prefix", "--socket"):
        parser.add_argument(option, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    _end_with(arguments.parent)
    return arguments


def _end_with(parent: int) -> None:
    """Be killed as soon as the parent ends, or at once when it has."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The access service is gone.")
