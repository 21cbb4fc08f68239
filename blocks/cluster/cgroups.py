"""Control groups: hold a worker to its flavour's CPU and memory, and know its processes whatever they do.

Works with version 1, version 2 and both mixed, below the group that this process is in (version 1) or below the topmost
group that it may change (version 2: as root, or in a subtree that systemd delegated to the user). Where the machine
forbids it (most containers) nothing fails: the run is queued by its flavour all the same, and `makerflow doctor` shows
what is not held, which `enforcement` finds out. Standard library only.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from blocks.cluster.cgroup_trees import Hierarchy, enable, hierarchies
from blocks.cluster.layout import RunLayout, read_json, write_json

_PERIOD_MICROSECONDS = 100_000
_FORGOTTEN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Enforcement:
    """What this machine lets us hold a worker to; `reason` says why not, or is empty."""

    cpu: bool
    memory: bool
    tracking: bool
    reason: str


@dataclass(frozen=True)
class WorkerCgroup:
    """The groups of one worker, one per hierarchy.

    Attributes:
        procs_files: A process that writes "0" into each of them is in the groups, with all that it starts later.
        oom_files: Files with a line `oom_kill N`: how many processes the kernel killed for want of memory.
        enforced: Those of `cpu` and `memory` that are held.
    """

    directories: tuple[Path, ...]
    procs_files: tuple[str, ...]
    oom_files: tuple[str, ...]
    enforced: frozenset[str]

    def out_of_memory_kills(self) -> int:
        """How many processes of the worker the kernel killed for want of memory so far."""
        return max((_oom_kills(Path(file)) for file in self.oom_files), default=0)

    def remove(self) -> None:
        """Remove the groups, with the last one also the run's; what still holds a process stays for `remove_groups`."""
        for directory in self.directories:
            _remove(directory)
            with contextlib.suppress(OSError):
                directory.parent.rmdir()


def create_worker_cgroup(run_directory: Path, rank: int, vcpus: float, memory_mib: int) -> WorkerCgroup | None:
    """Groups with these limits for one worker, made anew or found; None when the machine allows none."""
    made, enforced = [], set[str]()
    try:
        groups = _note(run_directory, {h.base / _name(run_directory): h for h in hierarchies()})
    except OSError:
        return None
    for group, hierarchy in groups.items():
        with contextlib.suppress(OSError):
            group.mkdir(exist_ok=True)
            _delegate(hierarchy, group)
            (group / str(rank)).mkdir(exist_ok=True)
            made.append(group / str(rank))
            enforced |= _limit(hierarchy, group / str(rank), vcpus, memory_mib)
    if not made:
        return None
    procs = tuple(str(directory / "cgroup.procs") for directory in made)
    ooms = tuple(str(f) for d in made for f in (d / "memory.oom_control", d / "memory.events") if f.exists())
    return WorkerCgroup(tuple(made), procs, ooms, frozenset(enforced))


def processes_of(run_directory: Path) -> set[int]:
    """The ids of all processes in the run's groups; they may be zombies."""
    pids: set[int] = set()
    for group in _groups_of(run_directory):
        for directory in (group, *_children(group)):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in (directory / "cgroup.procs").read_text().split())
    return pids


def kill(run_directory: Path) -> None:
    """Have the kernel kill all in the run's groups at once, where it can (version 2)."""
    for group in _groups_of(run_directory):
        with contextlib.suppress(OSError):
            if (group / "cgroup.kill").exists():
                (group / "cgroup.kill").write_text("1")


def remove_groups(run_directory: Path) -> None:
    """Remove the run's groups; those with a process in them stay. Twice is fine."""
    for group in _groups_of(run_directory):
        _remove(group)


def remove_stale(home: Path) -> list[str]:
    """Remove the groups of runs below `home` that are not there any more; returns their names.

    Also removed are empty groups of other homes that are older than a day: a home that was deleted as a whole has
    nobody left to ask.
    """
    prefix, gone = _prefix(home), set[str]()
    for hierarchy in hierarchies():
        for group in hierarchy.base.glob("makerflow-*"):
            with contextlib.suppress(FileNotFoundError):  # its owner has removed it meanwhile
                if group.name.startswith(prefix):
                    stale = not (home / "runs" / group.name.removeprefix(prefix)).exists()
                else:
                    stale = time.time() - group.stat().st_mtime > _FORGOTTEN_SECONDS
                if stale and _remove(group):
                    gone.add(group.name)
    return sorted(gone)


def enforcement() -> Enforcement:
    """What can be held here, found out by making a group and limiting it."""
    enforced, tracking, reasons = set[str](), False, []
    for hierarchy in hierarchies():
        probe = hierarchy.base / f"makerflow-probe-{os.getpid()}"
        try:
            probe.mkdir(exist_ok=True)
            tracking = True
            enforced |= _limit(hierarchy, probe, 1, 1024)
        except OSError as error:
            reasons.append(f"{hierarchy.base}: {error.strerror}")
        finally:
            _remove(probe)
    missing = {"cpu", "memory"} - enforced
    if missing and not reasons:
        reasons.append(f"no control group for {' and '.join(sorted(missing))} may be made here")
    return Enforcement("cpu" in enforced, "memory" in enforced, tracking, "; ".join(reasons) if missing else "")


def _delegate(hierarchy: Hierarchy, group: Path) -> None:
    if hierarchy.version == 2:
        enable(group)


def _limit(hierarchy: Hierarchy, group: Path, vcpus: float, memory_mib: int) -> set[str]:
    """Set the limits; returns the controllers that took them."""
    return {
        controller
        for controller in hierarchy.controllers
        if all(
            _write(group / file, value, needed)
            for file, value, needed in _limits(hierarchy.version, controller, vcpus, memory_mib)
        )
    }


def _limits(version: int, controller: str, vcpus: float, memory_mib: int) -> list[tuple[str, str, bool]]:
    """File, value, and whether it must be there, in the order of writing."""
    quota, size = max(1000, round(vcpus * _PERIOD_MICROSECONDS)), str(memory_mib << 20)
    if controller == "cpu" and version == 1:
        return [("cpu.cfs_period_us", str(_PERIOD_MICROSECONDS), True), ("cpu.cfs_quota_us", str(quota), True)]
    if controller == "cpu":
        return [("cpu.max", f"{quota} {_PERIOD_MICROSECONDS}", True)]
    if version == 1:
        return [("memory.limit_in_bytes", size, True), ("memory.memsw.limit_in_bytes", size, False)]
    return [("memory.max", size, True), ("memory.swap.max", "0", False)]


def _write(file: Path, value: str, needed: bool) -> bool:
    try:
        file.write_text(value)
    except OSError:
        return not needed  # swap is not counted on every machine
    return True


def _oom_kills(file: Path) -> int:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _prefix(home: Path) -> str:
    """Names of groups of one home start so; two homes never share one."""
    return f"makerflow-{hashlib.sha256(os.fsencode(home)).hexdigest()[:10]}-"


def _name(run_directory: Path) -> str:
    layout = RunLayout.of(run_directory)
    return _prefix(layout.home) + layout.run_id


def _note(run_directory: Path, groups: dict[Path, Hierarchy]) -> dict[Path, Hierarchy]:
    """Keep where the groups are going to be: a process in another group would look for them elsewhere."""
    known = _groups_of(run_directory)
    if new := [group for group in groups if group not in known]:
        document = {"groups": [str(group) for group in (*known, *new)]}
        write_json(run_directory / "cgroups.json", document, durable=False)
    return groups


def _groups_of(run_directory: Path) -> list[Path]:
    return [Path(g) for g in (read_json(run_directory / "cgroups.json") or {"groups": []})["groups"]]


def _children(group: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(group) as entries:
        return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _remove(group: Path) -> bool:
    """Remove a group and its workers'; False when it holds a process, and so stays."""
    for directory in (*_children(group), group):
        with contextlib.suppress(OSError):
            directory.rmdir()
    return not group.exists()
