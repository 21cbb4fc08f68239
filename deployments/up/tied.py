"""`python -I -S tied.py FILE COMMAND...`: becomes a program that ends with the process that started it.

A byte is added to FILE for each start. The program and all that it starts carry FILE in MAKERFLOW_PART, so that they
can be found when they lose their parents. Standard library only: it is started by path, before anything is importable.
"""

import ctypes
import os
import signal
import sys

MARKER = "MAKERFLOW_PART"
PARENT = "MAKERFLOW_PARENT"
"""The process id of whoever starts a tied program, in its environment."""

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program."""
    file, command = sys.argv[1], sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit("what started this has died meanwhile")
    with open(file, "ab") as starts:
        starts.write(b".")
    os.environ |= {MARKER: file, PARENT: str(os.getpid())}
    for number in (signal.SIGINT, signal.SIGPIPE):  # whatever was ignored where all this began
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
