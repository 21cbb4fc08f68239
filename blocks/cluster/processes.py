"""Find every process of a run on this machine, and end them all.

A process belongs to a run when it carries the run's marker in its environment, when it is in the run's control group,
or when its nearest marked ancestor belongs to it. So a grandchild that made its own session, a daemon that was handed
to another parent, and a child that was started with an empty environment are all found. Zombies do not count: nothing
of them runs.

It reads /proc itself, which takes a fifth of the time that psutil takes for the same. Standard library only.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blocks.cluster import cgroups
from blocks.domain.plan import StopReport

MARKER = "MAKERFLOW_RUN"
"""The variable in the environment of every process of a run; its value is the run's directory."""

KILL_SECONDS = 10.0
"""How long killed processes may take to go; the kernel needs that only for one that hangs in a device."""

_PATIENT_ROUNDS = 8
"""Looks after which something evidently forks faster than we look."""

_PAUSE_SECONDS = 0.01
"""Between two looks for what is left, so that who is just being started or ended is seen as what he is."""

_KERNEL_THREAD = 0x00200000
"""Set in the flags of what has neither an environment nor a parent that is ours."""

_MARKED = f"{MARKER}=".encode()

AGENT = "blocks.launcher"
"""The module that an agent runs; its first argument is the run's directory."""

_PIECE_BYTES = 1 << 17

_USER = re.compile(rb"^Uid:\s+(\d+)", re.M)


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told from a later one with the same id by when it started.

    Attributes:
        group: Its process group.
        started: In the kernel's clock ticks.
        marker: The directory of the run that it says it belongs to; empty when it does not say.
    """

    pid: int
    parent: int
    group: int
    started: float
    marker: str


def find_processes(run_directory: Path, *, excluding: Collection[int] = ()) -> list[int]:
    """The ids of all live processes of the run, but for `excluding`."""
    return sorted(p.pid for p in _Hunt(run_directory, excluding).look())


def count_processes(run_directories: Iterable[Path]) -> dict[Path, int]:
    """How many live processes each run has, from one look at the machine."""
    seen = _snapshot()
    return {directory: len(_members(seen, directory, frozenset())) for directory in run_directories}


def marked_runs(runs: Path) -> set[Path]:
    """The run directories in `runs`, there or not, whose marker a live process carries."""
    marked = {Path(process.marker) for process in _snapshot().values() if process.marker}
    return {directory for directory in marked if directory.parent == runs}


def end_processes(run_directory: Path, grace_seconds: float, *, excluding: Collection[int] = ()) -> StopReport:
    """End all processes of the run: SIGTERM, after the grace SIGKILL, until two looks in a row find none.

    What is killed is first halted, whole process groups at once, so that nothing can fork away between the look and
    the kill; the last resort against one that does is the kernel's kill of the control group. The calling process is
    never ended.
    """
    hunt = _Hunt(run_directory, excluding)
    hunt.ask_to_end(grace_seconds)
    remaining = hunt.force_to_end(KILL_SECONDS)
    killed = hunt.killed - {(p.pid, p.started) for p in remaining}
    return StopReport(
        terminated=len(hunt.known) - len(hunt.killed | {(p.pid, p.started) for p in remaining}),
        killed=len(killed),
        remaining=len(remaining),
    )


def signal_process(run_directory: Path, pid: int, number: signal.Signals) -> bool:
    """Send a signal to one process, if it is one of the run's; False when it is not, or is gone."""
    process = _snapshot().get(pid)
    return process is not None and process.marker == str(run_directory) and _send(process, number)


class _Hunt:
    """One effort to end a run: remembers whom it has seen, so that nobody escapes by losing marker and parent."""

    def __init__(self, run_directory: Path, excluding: Collection[int]) -> None:
        self.run_directory = run_directory
        self.spared = {*excluding, os.getpid()}
        self.known: set[tuple[int, float]] = set()
        self.killed: set[tuple[int, float]] = set()
        self.seen: dict[int, Process] = {}
        self.empty_looks = 0
        """So many in a row have found nobody, up to the last one."""

    def look(self) -> list[Process]:
        self.seen = _snapshot()
        found = [p for p in _members(self.seen, self.run_directory, self.known) if p.pid not in self.spared]
        self.known |= {(p.pid, p.started) for p in found}
        self.empty_looks = 0 if found else self.empty_looks + 1
        return found

    def ask_to_end(self, grace_seconds: float) -> None:
        """SIGTERM to each, once; returns when all are gone, or the time is over."""
        deadline = time.monotonic() + grace_seconds
        asked: set[int] = set()
        pause = 0.01
        while (alive := self.look()) and (left := deadline - time.monotonic()) > 0:
            for process in alive:
                if process.pid not in asked:
                    _send(process, signal.SIGTERM, signal.SIGCONT)  # a halted one hears it only when it goes on
            asked |= {p.pid for p in alive}
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.1)

    def force_to_end(self, seconds: float) -> list[Process]:
        """End all that are left, until two looks in a row have found none; who is left all the same."""
        deadline = time.monotonic() + seconds
        rounds = 0
        while self.empty_looks < 2:
            if rounds or self.empty_looks:
                time.sleep(_PAUSE_SECONDS)
            alive = self._halt()
            self._send_to_groups(alive, signal.SIGKILL)
            self.killed |= {(p.pid, p.started) for p in alive}
            for process in alive:
                _send(process, signal.SIGKILL)
            rounds += 1
            if rounds > _PATIENT_ROUNDS:
                cgroups.kill(self.run_directory)
            if time.monotonic() > deadline:
                return self.look()
        return []

    def _halt(self) -> list[Process]:
        """Halt all, and again what they forked meanwhile, until nobody is left who could fork."""
        halted: set[tuple[int, float]] = set()
        alive = self.look()
        for _ in range(_PATIENT_ROUNDS):
            new = [p for p in alive if (p.pid, p.started) not in halted]
            if not new:
                break
            self._send_to_groups(new, signal.SIGSTOP)
            for process in new:
                _send(process, signal.SIGSTOP)
                halted.add((process.pid, process.started))
            alive = self.look()
        return alive

    def _send_to_groups(self, members: list[Process], number: signal.Signals) -> None:
        """Reach at once all of each process group that is the run's alone, also who was forked since the look."""
        pids = {p.pid for p in members}
        strange = {p.group for p in self.seen.values() if p.pid not in pids} | {0, os.getpgrp()}
        for group in {p.group for p in members} - strange:
            with suppress(OSError):
                os.killpg(group, number)


def _members(seen: Mapping[int, Process], run_directory: Path, known: Collection[tuple[int, float]]) -> list[Process]:
    """The processes whose own marker, control group or nearest such ancestor is the run's."""
    run = str(run_directory)
    owners = {pid: p.marker for pid, p in seen.items() if p.marker and (p.marker == run or _is_run(p.marker))}
    for pid in cgroups.processes_of(run_directory):
        owners.setdefault(pid, run)
    for process in seen.values():
        if (process.pid, process.started) in known:
            owners.setdefault(process.pid, run)
    for pid in seen:
        _settle(pid, seen, owners)
    return [p for pid, p in seen.items() if owners[pid] == run]


def _settle(pid: int, seen: Mapping[int, Process], owners: dict[int, str]) -> None:
    """Give `pid` and its ancestors that have no owner the owner of the nearest ancestor that has one."""
    path = []
    while pid not in owners and pid in seen:
        path.append(pid)
        owners[pid] = ""  # should the table, read while it changes, hold a circle
        pid = seen[pid].parent
    owner = owners.get(pid, "")
    for each in path:
        owners[each] = owner


def _is_run(marker: str) -> bool:
    """Whether another run's marker is true: its processes are that run's affair, also below one of ours."""
    return os.path.exists(os.path.join(marker, "agent.lock"))


def _snapshot() -> dict[int, Process]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {pid: process for pid in pids if (process := _read(pid))}


def _read(pid: int) -> Process | None:
    """The process `pid`; None when it is gone or a zombie."""
    try:
        stat = _contents(f"/proc/{pid}/stat")
        # The name, in parentheses, may hold anything. Behind it: state, parent, group and, as the twentieth, the start.
        fields = stat[stat.rindex(b")") + 2 :].split()
        if fields[0] in (b"Z", b"X") or int(fields[6]) & _KERNEL_THREAD:
            return None
        return Process(pid, int(fields[1]), int(fields[2]), float(fields[19]), _marker(pid))
    except (OSError, ValueError):
        return None


def _marker(pid: int) -> str:
    try:
        environment = _contents(f"/proc/{pid}/environ")
    except PermissionError:
        return _marker_of_agent(pid)
    except OSError:  # it is gone
        return ""
    if _MARKED not in environment:
        return ""
    entries = (e for e in environment.split(b"\0") if e.startswith(_MARKED))
    return os.fsdecode(next(entries, _MARKED)[len(_MARKED) :])


def _marker_of_agent(pid: int) -> str:
    """The run of an agent, which lets nobody look into its memory: as its command line, which all may read, tells."""
    try:
        arguments = _contents(f"/proc/{pid}/cmdline").split(b"\0")
        if AGENT.encode() not in arguments:
            return ""
        user = _USER.search(_contents(f"/proc/{pid}/status"))
    except OSError:
        return ""
    if user is None or int(user[1]) != os.getuid():
        return ""
    return os.fsdecode(arguments[arguments.index(AGENT.encode()) + 1])


def _contents(file: str) -> bytes:
    """All of a file of a process in /proc: of those that are read here the kernel gives all that it is asked for."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        text = piece = os.read(descriptor, _PIECE_BYTES)
        while len(piece) == _PIECE_BYTES:
            piece = os.read(descriptor, _PIECE_BYTES)
            text += piece
        return text
    finally:
        os.close(descriptor)


def _send(process: Process, *signals: signal.Signals) -> bool:
    """Send `signals` to this very process; False when it is gone."""
    try:
        with _sender(process.pid) as send:
            # The id may be a later process's by now; once this is known not to be so, a handle keeps it so.
            now = _read(process.pid)
            if now is None or now.started != process.started:
                return False
            for each in signals:
                send(each)
    except OSError:
        return False
    return True


@contextmanager
def _sender(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """What sends a signal to the process that has this id now.

    Without such handles, in an old kernel or a sandbox, it is the id alone.
    """
    handle = None
    with suppress(OSError):  # also when the process is gone, which reading it tells
        handle = os.pidfd_open(pid)
    if handle is None:
        yield partial(os.kill, pid)
        return
    try:
        yield partial(signal.pidfd_send_signal, handle)
    finally:
        os.close(handle)
