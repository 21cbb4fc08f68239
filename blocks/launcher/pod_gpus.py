"""What the GPUs of a worker's container do, as the driver's management library tells there: only there are they seen.

Its interface: https://docs.nvidia.com/deploy/nvml-api. Standard library only, Python 3.8 or later.
"""

from __future__ import annotations

import ctypes
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIBRARY = "libnvidia-ml.so.1"
LOOK_SECONDS = 1.0


class Utilization(ctypes.Structure):
    """`nvmlUtilization_t`: percent of the last moments in which it was busy."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuWatch(threading.Thread):
    """Looks at all that the container sees; a thread, as a driver that sleeps takes seconds to wake.

    Args:
        load: Loads a shared library.

    Attributes:
        latest: The mean percent of how busy they are, and the bytes that are in use on all of them; None as long as
            nothing is known.
    """

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        super().__init__(name="GPUs", daemon=True)
        self._load = load
        self.latest: list[float] | None = None

    def run(self) -> None:
        """For as long as the process lives, and the driver answers."""
        try:
            library = self._load(LIBRARY)
            _check(library.nvmlInit_v2())
            while True:
                self.latest = look(library)
                time.sleep(LOOK_SECONDS)
        except (OSError, AttributeError):  # there is no driver, or another one
            self.latest = None


def look(library: Any) -> list[float] | None:
    """What the GPUs do now; None where there are none.

    Raises:
        OSError: The driver does not say.
    """
    count = ctypes.c_uint()
    _check(library.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    busy, used = [], 0
    for index in range(count.value):
        device, utilization, memory = ctypes.c_void_p(), Utilization(), Memory()
        _check(library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)))
        _check(library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(utilization)))
        _check(library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)))
        busy.append(utilization.gpu)
        used += memory.used
    return [sum(busy) / len(busy), used] if busy else None


def _check(code: int) -> None:
    if code:
        raise OSError(f"NVML answered {code}")
