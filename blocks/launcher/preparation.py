"""What comes before the entry point: its inputs on this machine, and its environment."""

from collections.abc import Callable
from pathlib import Path

from blocks.cluster.layout import RunLayout
from blocks.domain.plan import InputKind, RunPlan
from blocks.launcher.environments import ensure_environment
from blocks.launcher.settings import AgentSettings
from blocks.launcher.stores import Stores
from blocks.launcher.usage import DataStorage
from blocks.storage.cache import Cache
from blocks.storage.staging import StagingProgress, stage

REQUIREMENTS = "requirements.txt"

Emit = Callable[..., None]


def open_cache(settings: AgentSettings) -> Cache:
    """The cache of staged objects."""
    return Cache(settings.cache_directory, settings.cache_bytes)


def stage_inputs(layout: RunLayout, plan: RunPlan, cache: Cache, stores: Stores, emit: Emit) -> None:
    """Bring every input into the run's directory, verified.

    Raises:
        CapacityError: They do not fit the data storage or the disk.
        InputMissingError, InputChangedError: The path is named.
        AccessDeniedError: Reading is not allowed.
        StorageUnavailableError: A store failed.
    """
    DataStorage(layout, plan).check_inputs()

    def tell(progress: StagingProgress, finished: bool = False) -> None:
        emit(
            "staging",
            step="inputs",
            done_bytes=progress.done,
            total_bytes=progress.total,
            cached_bytes=progress.cached,
            finished=finished,
        )

    staged = stage(plan.inputs, lambda i: stores.open(i.path, i.connection), cache, layout.inputs, tell)
    tell(StagingProgress(staged.bytes, staged.cached_bytes, staged.bytes), finished=True)


def remove_inputs(layout: RunLayout, cache: Cache) -> None:
    """Remove the staged inputs so that the cache goes on trusting its files: the next run need not read them all."""
    cache.remove_tree(layout.inputs)
    cache.leave()


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
