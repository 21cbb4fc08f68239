"""What comes before the entry point: its inputs on this machine, and its environment."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from blocks.cluster.layout import RunLayout
from blocks.domain.plan import InputKind, RunPlan
from blocks.launcher.environments import ensure_environment
from blocks.launcher.settings import AgentSettings
from blocks.launcher.stores import Stores
from blocks.launcher.usage import DataStorage
from blocks.storage.cache import Cache
from blocks.storage.staging import stage

REQUIREMENTS = "requirements.txt"
REPORT_SECONDS = 0.5

Emit = Callable[..., None]


class StagingReport:
    """Turns progress, told from many threads, into not too many events."""

    def __init__(self, emit: Emit, total_bytes: int) -> None:
        self._emit = emit
        self._total = total_bytes
        self._done = 0
        self._next = time.monotonic() + REPORT_SECONDS
        self._lock = Lock()

    def arrived(self, size: int) -> None:
        """So many bytes more are there."""
        with self._lock:
            self._done += size
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + REPORT_SECONDS
            self._emit("staging", step="inputs", done_bytes=self._done, total_bytes=self._total)

    def finished(self, cached_bytes: int) -> None:
        """All is there."""
        self._emit(
            "staging",
            step="inputs",
            done_bytes=self._total,
            total_bytes=self._total,
            cached_bytes=cached_bytes,
            finished=True,
        )


def stage_inputs(layout: RunLayout, plan: RunPlan, settings: AgentSettings, stores: Stores, emit: Emit) -> None:
    """Bring every input into the run's directory, verified.

    Raises:
        CapacityError: They do not fit the data storage or the disk.
        InputMissingError, InputChangedError: The path is named.
        AccessDeniedError: Reading is not allowed.
        StorageUnavailableError: A store failed.
    """
    DataStorage(layout, plan).check_inputs()
    total = sum(found.size for planned in plan.inputs for found in planned.objects)
    report = StagingReport(emit, total)
    cache = Cache(settings.cache_directory, settings.cache_bytes)
    staged = stage(
        plan.inputs, lambda planned: stores.open(planned.path, planned.connection), cache, layout.inputs, report.arrived
    )
    report.finished(staged.cached_bytes)


def build_environment(layout: RunLayout, plan: RunPlan, settings: AgentSettings, emit: Emit) -> Path:
    """The interpreter that the entry point runs in, with the packages that its requirements ask for.

    Raises:
        EnvironmentFailedError: With the installer's words.
    """
    emit("staging", step="environment")
    entry_point = layout.inputs / InputKind.SOURCE / plan.entry_point
    requirements = entry_point.parent / REQUIREMENTS
    with layout.agent_log.open("a") as log:
        python = ensure_environment(
            plan.image, requirements if requirements.is_file() else None, settings.environments_directory.parent, log
        )
    emit("staging", step="environment", finished=True)
    return python
