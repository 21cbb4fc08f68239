"""Tells, now and then, what each worker of an attempt uses. It can do a run no harm, and costs it next to nothing."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event

from blocks.domain.plan import RunPlan
from blocks.domain.usage import UsageKind, UsageScope
from blocks.launcher.accounting import Account, Traffic, accounts, host_traffic
from blocks.launcher.gpus import Gpus, GpuUse
from blocks.launcher.journal import Journal

FIRST_SECONDS = 1.0
"""Until the first look, so that also a short run has one."""

LEAST_SECONDS, MOST_SECONDS = 2.0, 300.0
SHARE_OF_AGE = 150
"""Between two looks passes this share of the run's age: 900 looks in half a day, then 288 a day."""

SHARE_OF_TIME = 200
"""And so many times the processor time that a look takes: at most half a hundredth of a processor."""

MIB = float(1 << 20)

Values = dict[UsageKind, float]


def pause_seconds(age_seconds: float, look_seconds: float = 0.0) -> float:
    """How long to wait for the next look at a run of this age, when one takes `look_seconds` of a processor."""
    by_age = min(max(LEAST_SECONDS, age_seconds / SHARE_OF_AGE), MOST_SECONDS)
    return max(by_age, SHARE_OF_TIME * look_seconds)


class Monitor:
    """Looks at the workers of one attempt.

    Args:
        plan: What they were given.
        journal: Told of each look as an event `usage`.
        attempt: Its number.
        supervisors: Rank to the process id of the supervisors that still run.
        written: Rank to the bytes that its files take, as far as known.
        gpus: Rank to the indices of its GPUs.
    """

    def __init__(
        self,
        plan: RunPlan,
        journal: Journal,
        attempt: int,
        supervisors: Callable[[], Mapping[int, int]],
        written: Mapping[int, int],
        gpus: Mapping[int, Sequence[int]],
    ) -> None:
        self._plan, self._journal, self._attempt = plan, journal, attempt
        self._supervisors, self._written, self._gpu_indices = supervisors, written, gpus
        self._gpus: Gpus | None = None
        self._at, self._traffic = time.monotonic(), host_traffic()
        self._accounts: dict[int, Account] = {}

    def follow(self, ended: Event, began: float) -> None:
        """Look again and again until `ended`; `began` is when the run's first attempt started (by `time.time`)."""
        if self._plan.resources.gpus:
            self._gpus = Gpus()  # a driver that sleeps takes seconds to wake
        pause = FIRST_SECONDS
        while not ended.wait(pause):
            spent = time.thread_time()
            self._look()
            pause = pause_seconds(time.time() - began, time.thread_time() - spent)

    def _look(self) -> None:
        now, traffic = time.monotonic(), host_traffic()
        seconds, self._at = now - self._at, now
        network = network_values(self._traffic, traffic, seconds)
        found = accounts(self._supervisors())
        workers = [
            {"rank": rank, "values": self._values(rank, account, seconds) | network} for rank, account in found.items()
        ]
        self._traffic, self._accounts = traffic, found
        if workers:
            with suppress(OSError):  # a full disk costs a look, not the run
                self._journal.emit(
                    "usage",
                    attempt=self._attempt,
                    seconds=round(seconds, 3),
                    host=os.uname().nodename,
                    network=UsageScope.HOST,
                    workers=workers,
                )

    def _values(self, rank: int, account: Account, seconds: float) -> Values:
        before = self._accounts.get(rank, Account(read_bytes=0, written_bytes=0))
        values = process_values(before, account, seconds, self._plan.resources.vcpus)
        if rank in self._written:
            values[UsageKind.DISK] = _rounded(self._written[rank] / MIB)
        use = self._gpus.use(self._gpu_indices.get(rank, ())) if self._gpus else None
        return values | (gpu_values(use) if use else {})


def process_values(before: Account, now: Account, seconds: float, vcpus: float) -> Values:
    """What a worker's processes used between two looks."""
    values = {
        UsageKind.CPU: _rounded(100 * max(0.0, now.cpu_seconds - before.cpu_seconds) / seconds / vcpus),
        UsageKind.MEMORY: _rounded(now.memory_bytes / MIB),
    }
    if now.read_bytes is not None and before.read_bytes is not None:
        values[UsageKind.DISK_READ] = _rate(before.read_bytes, now.read_bytes, seconds)
    if now.written_bytes is not None and before.written_bytes is not None:
        values[UsageKind.DISK_WRITE] = _rate(before.written_bytes, now.written_bytes, seconds)
    return values


def network_values(before: Traffic | None, now: Traffic | None, seconds: float) -> Values:
    """What the host's network carried between two looks."""
    if before is None or now is None:
        return {}
    return {
        UsageKind.NETWORK_RECEIVED: _rate(before.received_bytes, now.received_bytes, seconds),
        UsageKind.NETWORK_SENT: _rate(before.sent_bytes, now.sent_bytes, seconds),
    }


def gpu_values(use: GpuUse) -> Values:
    """What the GPUs do now."""
    return {UsageKind.GPU: _rounded(use.percent), UsageKind.GPU_MEMORY: _rounded(use.memory_bytes / MIB)}


def _rate(before: int, now: int, seconds: float) -> float:
    """MiB a second; a counter that fell was started anew."""
    return round(max(0, now - before) / seconds / MIB, 3)


def _rounded(value: float) -> float:
    return round(value, 1)
