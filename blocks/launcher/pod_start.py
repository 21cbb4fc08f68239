"""`python -m blocks.launcher.pod_start`: how the sidecar begins.

Kubernetes hands the credentials over in the environment, which `/proc` shows for as long as a process lives, and user
code may put a link to that where the sidecar reads. So they are taken out of it, and `blocks.launcher.pod sync`, which
this process becomes, reads them from its standard input, of which nothing is left then.

It waits here for the inputs: what the sidecar imports would only keep the staging from the processor. Standard library
only.
"""

import os
import signal
import sys
import time
from typing import NoReturn

from blocks.cluster.pod_settings import CONFIDENTIAL_VARIABLE, STAGED, TERMINATED

LOOK_SECONDS = 0.03
LONGEST_LOOK_SECONDS = 0.25


def main() -> NoReturn:
    """Become `blocks.launcher.pod sync`, when it is time."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))  # the first process of a container ignores it else
    began = time.monotonic()
    while not STAGED.exists():
        time.sleep(look_pause(time.monotonic() - began))
    environment = dict(os.environ)
    hand_over(environment.pop(CONFIDENTIAL_VARIABLE, "{}").encode())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until there is a handler again: none is lost
    program = [sys.executable, "-m", "blocks.launcher.pod", "sync"]
    os.execve(program[0], program, environment)  # noqa: S606 - no shell is wanted


def look_pause(passed_seconds: float) -> float:
    """Until the next look for what may come at once or in hours: 33 a second were most of what a sidecar asks for."""
    return min(max(LOOK_SECONDS, passed_seconds / 40), LONGEST_LOOK_SECONDS)


def hand_over(document: bytes) -> None:
    """Put it into memory that is this process's standard input."""
    descriptor = os.memfd_create("confidential")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(document)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, 0)


if __name__ == "__main__":
    main()
