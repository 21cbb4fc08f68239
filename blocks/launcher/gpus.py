"""What GPUs do, as NVIDIA's management library tells. Without a driver, or without the library, there is nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class GpuUse(NamedTuple):
    """Of some GPUs now: the mean of how busy they are, and the memory that is in use on all of them."""

    percent: float
    memory_bytes: int


class Gpus:
    """The GPUs of this machine by the indices that the driver gives them."""

    def __init__(self) -> None:
        self._nvml = _load_nvml()

    def use(self, indices: Sequence[int]) -> GpuUse | None:
        """What these do now; None when there are none, or the driver does not say."""
        if self._nvml is None or not indices:
            return None
        try:
            handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in indices]
            busy = [self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
            used = [self._nvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles]
        except self._nvml.NVMLError:
            return None
        return GpuUse(sum(busy) / len(busy), sum(used))


def _load_nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
