"""Holds a run to the data storage it asked for, where no quota of the file system does."""

import time
from threading import Event

from blocks.cluster.layout import RunLayout
from blocks.domain.errors import CapacityError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, RunPlan
from blocks.launcher.directories import EMPTIED, KEPT
from blocks.launcher.tree import written_bytes

PAUSE_SECONDS = 1.0
SHARE_OF_TIME = 20
REMEDY = "Raise the data-storage size (--storage-gb), or use less."


class DataStorage:
    """What a run takes of its data storage: its staged objects, and all that its workers write.

    Attributes:
        written_bytes: Rank to what its files took at the last look of `watch`.
    """

    def __init__(self, layout: RunLayout, plan: RunPlan) -> None:
        self.limit_bytes = plan.storage_mib << 20
        self.staged_bytes = sum(
            found.size for i in plan.inputs if StoragePath.parse(i.path).is_object_store for found in i.objects
        )
        self._source_bytes = sum(found.size for i in plan.inputs if i.kind is InputKind.SOURCE for found in i.objects)
        self._workers = [layout.worker(rank) for rank in range(plan.workers)]
        self.written_bytes: dict[int, int] = {}

    def check_inputs(self) -> None:
        """Refuse inputs that do not fit.

        Raises:
            CapacityError: It says both sizes.
        """
        if self.staged_bytes > self.limit_bytes:
            raise CapacityError(
                "The inputs do not fit the data storage", _size(self.staged_bytes), _size(self.limit_bytes), REMEDY
            )

    def watch(self, ended: Event) -> str:
        """Look again and again until `ended`; the reason as soon as the storage is full."""
        pause = PAUSE_SECONDS
        while not ended.wait(pause):
            began = time.monotonic()
            for rank, worker in enumerate(self._workers):
                self.written_bytes[rank] = sum(written_bytes(worker / name) for name in (*EMPTIED, *KEPT))
            # A copy of the source is our own doing, and there for those workers alone that are on this machine.
            written = sum(max(0, taken - self._source_bytes) for taken in self.written_bytes.values())
            if self.staged_bytes + written > self.limit_bytes:
                return f"The data storage of {_size(self.limit_bytes)} is full. {REMEDY}"
            pause = max(PAUSE_SECONDS, SHARE_OF_TIME * (time.monotonic() - began))
        return ""


def _size(number: int) -> str:
    return f"{number / 10**9:.3g} GB"
