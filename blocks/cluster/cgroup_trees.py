"""The trees of control groups on this machine: which versions are mounted, and where this process may make groups.

Standard library only: the agent that waits in the queue asks for the limits around it.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60  # version 1 says "no limit" by a number near 2**63


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of control groups.

    Attributes:
        version: 1 or 2.
        controllers: Those of `cpu` and `memory` that groups made in `base` can use.
        base: Where this process may make groups.
        own: The group that this process is in.
        top: Where the tree is mounted.
    """

    version: int
    controllers: frozenset[str]
    base: Path
    own: Path
    top: Path


def own_limits() -> tuple[float | None, int | None]:
    """The vCPUs and MiB that the groups around this process leave to it; None where they set no limit."""
    vcpus: list[float] = []
    memory: list[int] = []
    for hierarchy in _mounted():
        for group in _upwards(hierarchy.own, hierarchy.top):
            vcpus += _cpu_limit(group)
            memory += _memory_limit(group)
    return min(vcpus, default=None), min(memory, default=None)


@functools.cache
def hierarchies() -> tuple[Hierarchy, ...]:
    """The trees in which this process may make groups: those that can limit, and version 2's, which can kill."""
    return tuple(h for h in _mounted() if os.access(h.base, os.W_OK))


@functools.cache
def _mounted() -> tuple[Hierarchy, ...]:
    """Every mounted tree that matters here, with the place that this process had in it when it was first asked."""
    return tuple(_trees())


def _trees() -> Iterator[Hierarchy]:
    try:
        own = dict(_own_groups(Path("/proc/self/cgroup").read_text()))
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in mounts:
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, top = left.split()[3], Path(left.split()[4])
        if kind == "cgroup2":
            yield _version_2(top, _below(top, root, own.get("", "/")))
        elif kind == "cgroup" and (names := {"cpu", "memory"} & set(options.split(","))):
            mine = _below(top, root, own.get(min(names), "/"))
            yield Hierarchy(1, frozenset(names), mine, mine, top)


def _own_groups(text: str) -> Iterator[tuple[str, str]]:
    """Controller (empty for version 2) and path of each line `number:controllers:path`."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _below(top: Path, root: str, path: str) -> Path:
    """Where the group `path` is to be seen in a tree whose group `root` is mounted at `top`."""
    inside = os.path.relpath(path, root)
    return top if inside == "." or inside.startswith("..") else top / inside


def _version_2(top: Path, own: Path) -> Hierarchy:
    """The topmost group in which both controllers work, else the topmost that may be changed."""
    may_change = [g for g in reversed(list(_upwards(own, top))) if os.access(g / "cgroup.procs", os.W_OK)]
    best, controllers = own, set[str]()
    for group in may_change:
        if len(usable := enable(group)) > len(controllers) or best is own:
            best, controllers = group, usable
        if len(controllers) == 2:
            break  # what lies deeper need not be touched
    return Hierarchy(2, frozenset(controllers), best, own, top)


def enable(group: Path) -> set[str]:
    """Let the children of a version 2 group use cpu and memory; returns what they can use."""
    control = group / "cgroup.subtree_control"
    for controller in ("cpu", "memory"):
        with contextlib.suppress(OSError):
            if controller not in control.read_text().split():
                control.write_text(f"+{controller}")
    with contextlib.suppress(OSError):
        return {"cpu", "memory"} & set(control.read_text().split())
    return set()


def _cpu_limit(group: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return [int(quota) / int(period)]
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((group / "cpu.cfs_quota_us").read_text())
        return [quota_us / int((group / "cpu.cfs_period_us").read_text())] if quota_us > 0 else []
    return []


def _memory_limit(group: Path) -> list[int]:
    for file in ("memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            size = int((group / file).read_text())
            return [size >> 20] if size < _UNLIMITED_BYTES else []
    return []


def _upwards(group: Path, top: Path) -> Iterator[Path]:
    """`group` and what it is in, up to `top`."""
    yield group
    if group != top and top in group.parents:
        yield from _upwards(group.parent, top)
