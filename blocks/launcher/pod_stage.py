"""What the init container leaves for the container of the entry point."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from blocks.cluster.layout import RunLayout, write_json
from blocks.cluster.pod_settings import (
    CACHE,
    PACKAGES,
    PROGRAMS,
    RENDEZVOUS_PORT,
    REQUESTS,
    TENSORFLOW_PORT,
    PodSettings,
)
from blocks.cluster.uploaded_log import BEGINS
from blocks.domain.environment import Rendezvous, entry_point_arguments, entry_point_environment
from blocks.domain.errors import InputMissingError, InvalidInputError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import InputKind, OutputKind, PlannedInput, PlannedOutput, RunPlan
from blocks.launcher.directories import make_worker_directories
from blocks.launcher.mirror import output_path
from blocks.launcher.outputs import EARLIER_LOG, LOG_NAME, outputs_of
from blocks.launcher.stores import Stores
from blocks.storage.base import Rights
from blocks.storage.cache import Cache
from blocks.storage.staging import stage

_PROGRAMS = ("pod_supervisor.py", "supervisor.py", "accounting.py", "pod_gpus.py", "pod_volume.py", "pod_installer.py")


def place_programs() -> None:
    """Copy what runs in the user's interpreter."""
    PROGRAMS.mkdir(exist_ok=True)
    for name in _PROGRAMS:
        shutil.copyfile(Path(__file__).parent / name, PROGRAMS / name)


def check_outputs(plan: RunPlan, stores: Stores) -> None:
    """Prove that outputs on a NAS can be written: whoever planned the run may be another user there than a pod is.

    Raises:
        AccessDeniedError: Hours before it would be found out.
    """
    for output in plan.outputs:
        path = StoragePath.parse(output.path)
        if path.scheme is Scheme.NAS:
            stores.open(output.path, output.connection).check(path, Rights.WRITE)


def open_node_cache(limit_bytes: int) -> Cache:
    """The cache that all pods of the node share.

    Raises:
        InvalidInputError: This user cannot write to it.
    """
    try:
        return Cache(CACHE, limit_bytes)
    except OSError as error:
        user = os.getuid()
        why = f"the user {user}, as whom it runs, cannot use it ({error.strerror}: {error.filename})"
        remedy = f"On each node: `install -d -o {user} DIRECTORY`, one for each MAKERFLOW_RUN_AS_USER."
        raise InvalidInputError("The directory of MAKERFLOW_NODE_CACHE", why, remedy) from error


def place_worker(
    layout: RunLayout, plan: RunPlan, rank: int, settings: PodSettings, stores: Stores, cache: Cache
) -> None:
    """Make the worker's directories, and write what its supervisor is to do.

    Raises:
        StorageUnavailableError: The checkpoints to go on from could not be read.
    """
    directories = make_worker_directories(layout, plan, rank, _checkpoint(layout, plan, stores, cache))
    if settings.attempt > 1:
        _place_earlier_log(layout, plan, rank, settings.attempt, stores, cache)
    workers = plan.workers
    rendezvous = Rendezvous(
        addresses=settings.addresses, ports=(RENDEZVOUS_PORT,) * workers, tf_ports=(TENSORFLOW_PORT,) * workers
    )
    environment = {
        "HOME": str(layout.home / "home"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(max(1, int(plan.resources.vcpus))),
    }
    (layout.home / "home").mkdir(exist_ok=True)
    if plan.has_requirements:
        environment["PYTHONPATH"] = str(PACKAGES)
    environment |= entry_point_environment(
        plan, rank, directories, rendezvous, region=settings.region, app_key=settings.app_key
    )
    document = {
        "attempt": settings.attempt,
        "rank": rank,
        "argv": [plan.entry_point, *entry_point_arguments(plan)],
        "env": environment,
        "cwd": directories.source,
        "deadline": settings.deadline,
        "time_limit_seconds": plan.time_limit_seconds,
        "grace_seconds": plan.stop_grace_seconds,
        "log_limit_bytes": plan.logs.limit_mib << 20,
        "memory_mib": plan.resources.memory_mib,
        "gpus": plan.resources.gpus,
        "watched": directories.checkpoints,
        "stop_file": str(REQUESTS / "stop"),
        "oom_files": ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"],
    }
    write_json(layout.worker(rank) / "worker.json", document, durable=False)


def _checkpoint(layout: RunLayout, plan: RunPlan, stores: Stores, cache: Cache) -> Path | None:
    """What the worker goes on from: what the run itself has uploaded, else the input that was asked for."""
    places = [(StoragePath.parse(output.path), output) for output in outputs_of(plan, OutputKind.CHECKPOINT)]
    own = [found for place, output in places if (found := _uploaded(place, output, stores))]
    if own:
        into = layout.inputs / "own"
        stage(own[:1], lambda i: stores.open(i.path, i.connection), cache, into, lambda _: None)
        return into / InputKind.CHECKPOINT
    given = layout.inputs / InputKind.CHECKPOINT
    return given if any(i.kind is InputKind.CHECKPOINT for i in plan.inputs) else None


def _place_earlier_log(layout: RunLayout, plan: RunPlan, rank: int, attempt: int, stores: Stores, cache: Cache) -> None:
    """What the worker printed in earlier attempts, as it was uploaded: all of it is uploaded again at the end."""
    earlier = layout.worker(rank) / EARLIER_LOG
    earlier.unlink(missing_ok=True)
    for output in outputs_of(plan, OutputKind.LOG)[:1]:
        if found := _uploaded(output_path(output, rank) / LOG_NAME, output, stores):
            into = layout.inputs / "logs"
            stage([found], lambda i: stores.open(i.path, i.connection), cache, into, lambda _: None)
            shutil.copyfile(into / InputKind.CHECKPOINT / LOG_NAME, earlier)
    with earlier.open("ab") as stream:
        stream.write(BEGINS % attempt)


def _uploaded(place: StoragePath, output: PlannedOutput, stores: Stores) -> PlannedInput | None:
    """What is at or below a place of an output already."""
    with suppress(InputMissingError):
        objects = tuple(stores.open(output.path, output.connection).plan(place))
        return PlannedInput(kind=InputKind.CHECKPOINT, path=str(place), connection=output.connection, objects=objects)
    return None
