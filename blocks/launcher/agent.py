"""The agent of one run on one machine: waits for its turn, and sees the run to its last event whatever happens.

While it waits it is one of many, so this module imports the standard library only; what a placed run needs is imported
when it is placed.
"""

import ctypes
import errno
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.cluster import agent_lock
from blocks.cluster.allocation import Placement, release, wait_for_turn
from blocks.cluster.events import empty_logs
from blocks.cluster.layout import RunLayout
from blocks.cluster.outcome import Outcome
from blocks.launcher.journal import Journal
from blocks.launcher.stopping import StopSwitch

RESERVE = "reserve"
RESERVE_BYTES = 1 << 17
"""Kept free for the last event and the last state, should the disk be full then."""

CUT_SHORT = 3
"""The exit code of an agent whose secrets did not arrive."""

PR_SET_DUMPABLE = 4

USAGE = "usage: python -m blocks.launcher RUN_DIRECTORY [LOCK_DESCRIPTOR] < SECRETS"


@dataclass(frozen=True)
class Confidential:
    """What the agent alone may know, so that an entry point finds it nowhere.

    Attributes:
        connections: Their names, and how each is opened.
        environment: Variables with which clients of stores and installers find their credentials.
    """

    connections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def main(arguments: list[str]) -> int:
    """See the run in the given directory to its end; 0 when its last event is written."""
    if len(arguments) not in (1, 2):
        return _refuse(USAGE)
    layout = RunLayout.of(Path(arguments[0]).resolve())
    if not layout.plan.is_file():
        return _refuse(f"{layout.directory} holds no run: there is no {layout.plan.name}. {USAGE}")
    if len(arguments) == 2:
        os.set_inheritable(int(arguments[1]), False)  # handed over by `launch`, already locked
    elif agent_lock.acquire(layout.lock) is None:
        return _refuse(f"Another agent sees to the run {layout.run_id}.")
    forbid_looking()
    switch = StopSwitch(layout.stop)
    try:
        confidential = read_secrets(needed=len(arguments) == 2)
    except ValueError as error:
        # The run is found LOST and launched again with its secrets; without them it would fail for a wrong reason.
        return _refuse(f"The secrets did not arrive whole, so nothing was started: {error}", CUT_SHORT)
    os.environ.update(confidential.environment)  # in memory: /proc shows what the process was started with
    journal = Journal(layout)
    if not journal.is_over:
        see_to_the_end(layout, journal, switch, confidential.connections)
    # Threads that hang in a store, or in an installer, must not keep the process: all is on disk.
    os._exit(0)


def forbid_looking() -> None:
    """Let no process of this user look into this one's memory."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def read_secrets(*, needed: bool) -> Confidential:
    """The secrets from standard input, which holds nothing afterwards.

    Args:
        needed: Whether `launch` started this process: it always hands over a document, be it an empty one. Otherwise
            an empty or closed standard input holds no secrets.

    Raises:
        ValueError: There is no document, or not the whole of it: who launched this died meanwhile.
    """
    text = sys.stdin.read() if sys.stdin else ""
    document = json.loads(text) if needed or text.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("standard input does not hold a JSON object")
    return Confidential(document.get("connections", {}), document.get("environment", {}))


def see_to_the_end(
    layout: RunLayout, journal: Journal, switch: StopSwitch, secrets: Mapping[str, Mapping[str, str]]
) -> None:
    """Take the run from where it stands to its last event."""
    try:
        (layout.directory / RESERVE).write_bytes(bytes(RESERVE_BYTES))
        outcome = _outcome(layout, journal, switch, secrets)
    except Exception as error:  # the top of the process: a run must always get its last event
        traceback.print_exc()
        outcome = _failure(error, layout)
        _sweep(layout)
        if journal.state.attempt == 0:
            _nothing_was_printed(layout, journal)
    release(layout.directory)
    (layout.directory / RESERVE).unlink(missing_ok=True)
    journal.finish(outcome)


def _outcome(
    layout: RunLayout, journal: Journal, switch: StopSwitch, secrets: Mapping[str, Mapping[str, str]]
) -> Outcome:
    placement = _wait(layout, journal, switch) if journal.state.outcome is None else None
    if placement is None and journal.state.attempt == 0 and journal.state.outcome is None:
        _nothing_was_printed(layout, journal)
        return Outcome("stopped", "It was stopped while it waited for its turn.")
    from blocks.launcher.run import Run  # with all that a run needs once it has its room

    return Run(layout, journal, switch, secrets, placement).execute()


def _wait(layout: RunLayout, journal: Journal, switch: StopSwitch) -> Placement | None:
    """Wait for room; None when stopped."""
    if journal.state.attempt > 0:  # an earlier agent died: what it left still uses the machine
        _sweep(layout)

    def tell(reason: str) -> None:
        journal.change(phase="queued", detail=reason)
        journal.emit("queued", reason=reason)

    placement = wait_for_turn(layout.directory, tell, switch.asked, pause=switch.wait)
    if placement is not None:
        journal.emit("placed", where=placement.where)
    return placement


def _nothing_was_printed(layout: RunLayout, journal: Journal) -> None:
    """Who waits for the log before the run is removed need not wait for this one's."""
    for fields in empty_logs(layout.plan):
        journal.emit("uploaded", **fields)


def _sweep(layout: RunLayout) -> None:
    from blocks.cluster.processes import end_processes  # not needed by one that waits

    end_processes(layout.directory, 0, excluding={os.getpid()})


def _failure(error: Exception, layout: RunLayout) -> Outcome:
    if not layout.plan.exists():
        return Outcome("user_error", f"The entry point removed the directory of its run, {layout.directory}.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Outcome("disk_full", f"The disk of {layout.home} is full. Free some space there, then try again.")
    said = f"{type(error).__name__}: {error}".rstrip(".")
    return Outcome("launcher_error", f"{said}. {layout.agent_log} says more.")


def _refuse(why: str, code: int = 2) -> int:
    print(why, file=sys.stderr)
    return code
