"""What monitoring measures of a worker, and in what."""

from enum import StrEnum
from typing import NamedTuple


class UsageKind(StrEnum):
    """One measure of one worker."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    DISK_READ = "disk_read"
    DISK_WRITE = "disk_write"
    NETWORK_RECEIVED = "network_received"
    NETWORK_SENT = "network_sent"
    GPU = "gpu"
    GPU_MEMORY = "gpu_memory"


class UsageScope(StrEnum):
    """Whose traffic the network's figures are: processes that share a host's network cannot be told apart."""

    HOST = "host"
    WORKER = "worker"


class Measure(NamedTuple):
    """How a kind is shown."""

    title: str
    unit: str


MEASURES = {
    UsageKind.CPU: Measure("CPU", "% of the flavor's vCPUs"),
    UsageKind.MEMORY: Measure("Memory", "MiB"),
    UsageKind.DISK: Measure("Disk", "MiB"),
    UsageKind.DISK_READ: Measure("Disk reads", "MiB/s"),
    UsageKind.DISK_WRITE: Measure("Disk writes", "MiB/s"),
    UsageKind.NETWORK_RECEIVED: Measure("Network received", "MiB/s"),
    UsageKind.NETWORK_SENT: Measure("Network sent", "MiB/s"),
    UsageKind.GPU: Measure("GPU", "%"),
    UsageKind.GPU_MEMORY: Measure("GPU memory", "MiB"),
}
"""In the order in which they are shown."""

NETWORK = (UsageKind.NETWORK_RECEIVED, UsageKind.NETWORK_SENT)


def title_of(kind: UsageKind, scope: UsageScope) -> str:
    """What stands above a kind's figures, e.g. `Network sent by the whole host, MiB/s`."""
    measure = MEASURES[kind]
    whose = " by the whole host" if kind in NETWORK and scope is UsageScope.HOST else ""
    return f"{measure.title}{whose}, {measure.unit}"
