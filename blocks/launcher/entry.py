"""What a supervisor is told: how to start one worker's entry point."""

import os
from collections.abc import Mapping
from pathlib import Path

from blocks.cluster.allocation import Placement
from blocks.cluster.cgroups import WorkerCgroup
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import MARKER
from blocks.domain.environment import Rendezvous, WorkerDirectories, entry_point_arguments, entry_point_environment
from blocks.domain.plan import RunPlan
from blocks.launcher.settings import AgentSettings

PASSED_ON = (
    "HOME", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""Of the machine's environment the entry point gets these and LC_*: what it is like here, and no secret."""


def worker_document(
    layout: RunLayout,
    plan: RunPlan,
    rank: int,
    *,
    attempt: int,
    python: Path,
    directories: WorkerDirectories,
    rendezvous: Rendezvous,
    placement: Placement,
    cgroup: WorkerCgroup | None,
    deadline: float,
    settings: AgentSettings,
) -> dict[str, object]:
    """The content of `worker.json`."""
    environment = clean_environment(os.environ, python) | {
        "OMP_NUM_THREADS": str(max(1, int(plan.resources.vcpus))),
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, worker_gpus(placement, plan)[rank])),
    }
    environment |= entry_point_environment(
        plan, rank, directories, rendezvous, region=settings.region, app_key=settings.app_key
    )
    return {
        "attempt": attempt,
        "rank": rank,
        "argv": [str(python), plan.entry_point, *entry_point_arguments(plan)],
        "env": environment | {MARKER: str(layout.directory)},
        "cwd": directories.source,
        "deadline": deadline,
        "time_limit_seconds": plan.time_limit_seconds,
        "grace_seconds": plan.stop_grace_seconds,
        "log_limit_bytes": plan.logs.limit_mib << 20,
        "memory_mib": plan.resources.memory_mib,
        "watched": directories.checkpoints,
        "lifeline": True,
        "procs_files": list(cgroup.procs_files) if cgroup else [],
        "oom_files": list(cgroup.oom_files) if cgroup else [],
    }


def clean_environment(machine: Mapping[str, str], python: Path) -> dict[str, str]:
    """What an entry point gets before the platform's own variables: enough to run in, and no credentials."""
    passed = {name: value for name, value in machine.items() if name in PASSED_ON or name.startswith("LC_")}
    path = f"{python.parent}:{machine.get('PATH', os.defpath)}"
    home = python.parent.parent
    virtual = {"VIRTUAL_ENV": str(home)} if (home / "pyvenv.cfg").exists() else {}
    return passed | virtual | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def worker_gpus(placement: Placement, plan: RunPlan) -> dict[int, tuple[int, ...]]:
    """Rank to the indices of the GPUs that are this worker's own."""
    each = plan.resources.gpus
    return {rank: placement.gpus[rank * each : (rank + 1) * each] for rank in range(plan.workers)}
