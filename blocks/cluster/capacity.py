"""How much of CPU, memory and GPUs there is, is asked for, and is left. Standard library only."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from blocks.cluster.cgroup_trees import own_limits
from blocks.domain.errors import CapacityError

_GPU_DEVICE = re.compile(r"nvidia\d+")


@dataclass(frozen=True, order=True)
class Room:
    """An amount of what a machine has."""

    vcpus: float
    memory_mib: int
    gpus: int = 0

    def times(self, count: int) -> "Room":
        """That many of it."""
        return Room(round(self.vcpus * count, 3), self.memory_mib * count, self.gpus * count)

    def less(self, others: Iterable["Room"]) -> "Room":
        """What is left of this without the others."""
        vcpus, memory, gpus = self.vcpus, self.memory_mib, self.gpus
        for other in others:
            vcpus, memory, gpus = vcpus - other.vcpus, memory - other.memory_mib, gpus - other.gpus
        return Room(round(vcpus, 3), memory, gpus)

    def fits(self, free: "Room") -> bool:
        """Whether this is no more than `free`."""
        return self.vcpus <= free.vcpus and self.memory_mib <= free.memory_mib and self.gpus <= free.gpus

    def shortage(self, free: "Room", whole: "Room") -> str:
        """What is missing first, such as `2 vCPU: 1 of 2 are`; empty when all of this is there."""
        if self.vcpus > free.vcpus:
            return f"{self.vcpus:g} vCPU: {round(whole.vcpus - free.vcpus, 3):g} of {whole.vcpus:g} are"
        if self.memory_mib > free.memory_mib:
            used = whole.memory_mib - free.memory_mib
            return f"{self.memory_mib} MiB of memory: {used} of {whole.memory_mib} MiB are"
        if self.gpus > free.gpus:
            return f"{self.gpus} GPU: {whole.gpus - free.gpus} of {whole.gpus} are"
        return ""

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPU" if self.gpus else ""
        return f"{self.vcpus:g} vCPU, {self.memory_mib} MiB{gpus}"


def capacity(vcpus: float | None = None, memory_mib: int | None = None) -> Room:
    """What runs may use together: as set, else what the machine and the groups around this process leave to it."""
    cpu_limit, memory_limit = own_limits()
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Room(
        vcpus or min(_processors(), cpu_limit or float("inf")),
        memory_mib or min(installed, memory_limit or installed),
        _gpus(),
    )


def check_fits(run: str, needs: Room, whole: Room) -> None:
    """Refuse what would wait for ever.

    Raises:
        CapacityError: It says what was asked for and what there is.
    """
    if needs.fits(whole):
        return
    what = f"The run {run} can never be placed on this machine"
    remedy = "Use a smaller flavor or fewer workers, or raise MAKERFLOW_CPUS and MAKERFLOW_MEMORY_MIB if they are set."
    raise CapacityError(what, str(needs), str(whole), remedy)


def _processors() -> int:
    with suppress(AttributeError):  # where a process cannot be bound to processors
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> int:
    with suppress(OSError):
        return sum(1 for name in os.listdir("/dev") if _GPU_DEVICE.fullmatch(name))
    return 0
