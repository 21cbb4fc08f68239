import sys
from itertools import accumulate
from types import SimpleNamespace

import pytest

from blocks.domain.usage import UsageKind, UsageScope, title_of
from blocks.launcher.accounting import Account, Traffic
from blocks.launcher.gpus import Gpus
from blocks.launcher.monitoring import (
    LEAST_SECONDS,
    MOST_SECONDS,
    gpu_values,
    network_values,
    pause_seconds,
    process_values,
)

MIB = 1 << 20


class NVMLError(Exception):
    """As the library's own."""


def nvml(busy: list[int], used_mib: list[int], broken: bool = False) -> SimpleNamespace:
    """NVIDIA's library on a machine with GPUs of this load."""

    def init() -> None:
        if broken:
            raise NVMLError

    def handle(index: int) -> int:
        if index >= len(busy):
            raise NVMLError
        return index

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=busy[handle]),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=used_mib[handle] * MIB),
    )


def test_cpu_is_a_share_of_the_flavors_vcpus_and_rates_are_per_second() -> None:
    before = Account(cpu_seconds=1.0, memory_bytes=5 * MIB, read_bytes=0, written_bytes=MIB)
    now = Account(cpu_seconds=2.5, memory_bytes=64 * MIB, read_bytes=8 * MIB, written_bytes=3 * MIB)

    assert process_values(before, now, seconds=2.0, vcpus=1.5) == {
        UsageKind.CPU: 50.0,
        UsageKind.MEMORY: 64.0,
        UsageKind.DISK_READ: 4.0,
        UsageKind.DISK_WRITE: 1.0,
    }


def test_a_counter_that_falls_with_a_process_is_no_negative_use() -> None:
    before = Account(cpu_seconds=9.0, read_bytes=9, written_bytes=9)
    values = process_values(before, Account(cpu_seconds=1.0, read_bytes=1, written_bytes=1), 1.0, 1.0)

    assert values == dict.fromkeys(
        (UsageKind.CPU, UsageKind.MEMORY, UsageKind.DISK_READ, UsageKind.DISK_WRITE), 0.0
    )  # fmt: skip


def test_what_the_kernel_does_not_tell_is_left_out() -> None:
    assert process_values(Account(), Account(), 1.0, 1.0).keys() == {UsageKind.CPU, UsageKind.MEMORY}
    assert network_values(None, Traffic(1, 1), 1.0) == network_values(Traffic(1, 1), None, 1.0) == {}


def test_what_no_process_can_be_charged_with_says_whose_it_is() -> None:
    assert title_of(UsageKind.NETWORK_SENT, UsageScope.HOST) == "Network sent by the whole host, MiB/s"
    assert title_of(UsageKind.NETWORK_SENT, UsageScope.WORKER) == "Network sent, MiB/s"
    assert network_values(Traffic(0, MIB), Traffic(MIB, MIB), 2.0) == {
        UsageKind.NETWORK_RECEIVED: 0.5,
        UsageKind.NETWORK_SENT: 0.0,
    }


def test_looks_come_ever_more_rarely_so_that_a_run_of_a_year_has_a_bounded_number() -> None:
    ages = list(accumulate(range(200_000), lambda age, _: age + pause_seconds(age), initial=0.0))

    assert pause_seconds(0) == LEAST_SECONDS
    assert pause_seconds(10**9) == MOST_SECONDS
    assert sum(age < 300 for age in ages) == 150
    assert sum(age < 12 * 3600 for age in ages) < 1000
    assert sum(age < 365 * 86400 for age in ages) < 110_000


def test_a_machine_on_which_a_look_takes_long_is_looked_at_more_rarely() -> None:
    assert pause_seconds(0, look_seconds=0.1) == pytest.approx(20)


def test_the_gpus_of_a_worker_are_read_through_the_drivers_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([10, 90, 50], [100, 200, 400]))
    gpus = Gpus()

    use = gpus.use((1, 2))

    assert use is not None
    assert gpu_values(use) == {UsageKind.GPU: 70.0, UsageKind.GPU_MEMORY: 600.0}
    assert gpus.use(()) is None
    assert gpus.use((7,)) is None  # it has gone


@pytest.mark.parametrize("library", [None, nvml([], [], broken=True)])
def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch, library: SimpleNamespace | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)

    assert Gpus().use((0,)) is None
