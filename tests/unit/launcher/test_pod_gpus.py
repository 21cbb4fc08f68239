"""What the GPUs of a pod's worker do: through the driver's library in its container, to the run's events."""

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from blocks.launcher import pod_monitor
from blocks.launcher.pod_gpus import LIBRARY, GpuWatch, look
from blocks.launcher.pod_monitor import PodMonitor
from tests.unit.kubernetes.plans import make_plan
from tests.waiting import wait_for, wait_until

MIB = 1 << 20


class Driver:
    """Acts as the library: of each GPU how busy it is, and the bytes that are in use."""

    def __init__(self, *gpus: tuple[int, int], asleep: int = 0) -> None:
        self._gpus, self._asleep = gpus, asleep

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the library's name
        return self._asleep

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802 - the library's name
        count._obj.value = len(self._gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: Any) -> int:  # noqa: N802 - the library's name
        device._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetUtilizationRates(self, device: ctypes.c_void_p, rates: Any) -> int:  # noqa: N802 - the library's name
        rates._obj.gpu = self._of(device)[0]
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: Any) -> int:  # noqa: N802 - the library's name
        memory._obj.used = self._of(device)[1]
        return 0

    def _of(self, device: ctypes.c_void_p) -> tuple[int, int]:
        return self._gpus[(device.value or 0) - 1]


def test_of_all_gpus_of_the_container_the_mean_load_and_the_memory_in_use_are_told() -> None:
    assert look(Driver((90, 200 * MIB), (50, 400 * MIB))) == [70.0, 600 * MIB]
    assert look(Driver()) is None


def test_they_are_looked_at_as_long_as_the_process_lives() -> None:
    asked: list[str] = []

    def load(name: str) -> Driver:
        asked.append(name)
        return Driver((25, MIB))

    watch = GpuWatch(load)
    watch.start()
    assert wait_for(lambda: watch.latest) == [25.0, MIB]
    assert asked == [LIBRARY]


@pytest.mark.parametrize("library", [None, Driver(asleep=9), object()], ids=["no driver", "it fails", "another one"])
def test_without_a_driver_that_answers_nothing_is_told(library: object) -> None:
    def load(_: str) -> object:
        if library is None:
            raise OSError("cannot open shared object file")
        return library

    watch = GpuWatch(load)
    watch.start()
    wait_until(lambda: not watch.is_alive())
    assert watch.latest is None


@pytest.mark.req("COM-08")
@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ([70.0, 600 * MIB], {"gpu": 70.0, "gpu_memory": 600.0}),
        (None, {}),
    ],
)
def test_the_sidecar_tells_what_the_workers_gpus_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[float] | None, told: dict[str, float]
) -> None:
    monkeypatch.setattr(pod_monitor, "FIRST_SECONDS", 0.01)
    account = {"cpu_seconds": 1.0, "memory_bytes": MIB, "read_bytes": None, "written_bytes": None}
    (tmp_path / "report.json").write_text(json.dumps({"account": account, "traffic": None, "gpus": gpus}))
    ended, looks = Event(), []

    def emit(_: str, **fields: Any) -> None:
        looks.append(fields)
        ended.set()

    follow: Callable[..., None] = PodMonitor(make_plan(), emit, 0, 1, {}).follow
    follow(ended, tmp_path)
    [look_at] = looks
    values = look_at["workers"][0]["values"]
    assert {name: value for name, value in values.items() if "gpu" in name} == told
