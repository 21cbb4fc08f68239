"""What a worker in a pod uses, from what its supervisor has left in the volume that it shares with the sidecar."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from blocks.domain.plan import RunPlan
from blocks.domain.usage import UsageKind, UsageScope
from blocks.launcher.accounting import Account, Traffic
from blocks.launcher.gpus import GpuUse
from blocks.launcher.monitoring import FIRST_SECONDS, MIB, gpu_values, network_values, pause_seconds, process_values
from blocks.launcher.pod_relay import Emit
from blocks.launcher.pod_volume import read_object

WAIT_SECONDS = 0.1


class PodMonitor:
    """Looks at one worker's reports.

    Args:
        plan: What it was given.
        emit: Told of each look as an event `usage`.
        rank: The worker.
        attempt: Of the run.
        written: Rank to the bytes that its files take, as far as known.
    """

    def __init__(self, plan: RunPlan, emit: Emit, rank: int, attempt: int, written: Mapping[int, int]) -> None:
        self._plan, self._emit, self._rank, self._attempt = plan, emit, rank, attempt
        self._written = written
        self._at = 0.0
        self._account, self._traffic = Account(read_bytes=0, written_bytes=0), Traffic(0, 0)

    def follow(self, ended: Event, worker: Path) -> None:
        """Look again and again until `ended`; it can do a run no harm."""
        report = worker / "report.json"
        while not report.exists():  # its container may be seconds behind
            if ended.wait(WAIT_SECONDS):
                return
        self._at = time.monotonic()
        began, pause = time.time(), FIRST_SECONDS
        while not ended.wait(pause):
            with suppress(OSError, ValueError, KeyError, TypeError, ArithmeticError):  # the entry point can write there
                self._look(read_object(report))
            pause = pause_seconds(time.time() - began)

    def _look(self, report: Mapping[str, Any]) -> None:
        account = Account(**report["account"])
        traffic = Traffic(*report["traffic"]) if report["traffic"] else None
        now = time.monotonic()
        seconds, self._at = now - self._at, now
        values = process_values(self._account, account, seconds, self._plan.resources.vcpus)
        values |= network_values(self._traffic, traffic, seconds)
        if report["gpus"]:
            percent, used = report["gpus"]
            values |= gpu_values(GpuUse(percent, used))
        if self._rank in self._written:
            values[UsageKind.DISK] = round(self._written[self._rank] / MIB, 1)
        self._account, self._traffic = account, traffic or self._traffic
        self._emit(
            "usage",
            attempt=self._attempt,
            seconds=round(seconds, 3),
            host=os.environ.get("MAKERFLOW_NODE", os.uname().nodename),
            network=UsageScope.WORKER,
            workers=[{"rank": self._rank, "values": values}],
        )


def open_files(worker: Path) -> set[str]:
    """The checkpoints that the worker had open for writing when it was looked last."""
    with suppress(OSError, ValueError, TypeError):
        return {name for name in read_object(worker / "report.json").get("open", ()) if isinstance(name, str)}
    return set()
