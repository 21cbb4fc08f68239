"""The environment and the arguments of an entry point: pure functions of the plan, the rank and the directories."""

import ipaddress
import json
import re

from pydantic import Field, model_validator

from blocks.domain.plan import Frozen, RunPlan


class WorkerDirectories(Frozen):
    """Where one worker's things are: absolute paths of directories that exist.

    Attributes:
        source: The algorithm; also the entry point's working directory.
        model: What is left here is the model.
        checkpoints: What is left here is uploaded while the entry point runs.
        tensorboard: What is written here shows in the experiment's TensorBoard.
        checkpoint_input: The staged input checkpoint; empty when none was given.
        datasets: Name to the staged dataset.
        tmp: The worker's own scratch.
    """

    source: str
    model: str
    checkpoints: str
    tensorboard: str
    checkpoint_input: str = ""
    datasets: dict[str, str] = Field(default_factory=dict)
    tmp: str


class Rendezvous(Frozen):
    """Where the workers of one attempt find each other; the index is the rank.

    Attributes:
        addresses: Host names or IP addresses.
        ports: `ports[0]` is where rank 0 gathers the others (PyTorch's `MASTER_PORT`).
        tf_ports: Where each rank's TensorFlow server listens; never one of `ports`.
    """

    addresses: tuple[str, ...] = Field(min_length=1)
    ports: tuple[int, ...]
    tf_ports: tuple[int, ...]

    @model_validator(mode="after")
    def _one_for_each_rank(self) -> "Rendezvous":
        if not len(self.addresses) == len(self.ports) == len(self.tf_ports):
            raise ValueError("a rendezvous has one address, one port and one TensorFlow port for each rank")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether all workers are on this machine and meet on its loopback interface."""
        return all(_is_loopback(address) for address in self.addresses)


def environment_name(name: str) -> str:
    """A name made from user input, as it stands in a variable's name: upper case, '-', '.' and others as '_'."""
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())


def entry_point_environment(
    plan: RunPlan,
    rank: int,
    directories: WorkerDirectories,
    rendezvous: Rendezvous,
    *,
    region: str = "",
    app_key: str = "",
) -> dict[str, str]:
    """The variables that the entry point of worker `rank` finds, beside a clean PATH, HOME and locale.

    What the plan sets itself comes first; it can never replace a variable of the platform. PyTorch's variables are
    always set, so that a script that calls `init_process_group` runs with one worker too; `TF_CONFIG` only with more
    than one, because TensorFlow takes its presence for a cluster.
    """
    if not 0 <= rank < plan.workers:
        raise ValueError(f"rank {rank} is not among the {plan.workers} workers of run {plan.run_id}")
    return (
        dict(plan.environment)
        | _platform(plan, directories, region, app_key)
        | _hyperparameters(plan)
        | _datasets(directories)
        | _torch(plan.workers, rank, rendezvous)
        | (_tensorflow(rank, rendezvous) if plan.workers > 1 else {})
    )


def entry_point_arguments(plan: RunPlan) -> tuple[str, ...]:
    """`--{Key} {value}` for each hyperparameter, in the order given, then the plan's further arguments."""
    pairs = tuple(part for name, value in plan.hyperparameters.items() for part in (f"--{name}", value))
    return pairs + plan.arguments


def _platform(plan: RunPlan, directories: WorkerDirectories, region: str, app_key: str) -> dict[str, str]:
    variables = {
        "EM_SOURCE_DIR": directories.source,
        "EM_ENTRY_POINT": plan.entry_point,
        "EM_MODEL_DIR": directories.model,
        "EM_CHECKPOINT_DIR": directories.checkpoints,
        "EM_TENSORBOARD_LOG_DIR": directories.tensorboard,
        "EM_REGION": region,
        "EM_APPKEY": app_key,
        "TMPDIR": directories.tmp,
    }
    if directories.checkpoint_input:
        variables["EM_CHECKPOINT_INPUT_DIR"] = directories.checkpoint_input
    return variables


def _hyperparameters(plan: RunPlan) -> dict[str, str]:
    single = {f"EM_HP_{environment_name(name)}": value for name, value in plan.hyperparameters.items()}
    return single | {"EM_HPS": _json(plan.hyperparameters)}


def _datasets(directories: WorkerDirectories) -> dict[str, str]:
    single = {f"EM_DATASET_{environment_name(name)}": path for name, path in directories.datasets.items()}
    return single | {"EM_DATASETS": _json(directories.datasets)}


def _torch(workers: int, rank: int, rendezvous: Rendezvous) -> dict[str, str]:
    """What `init_process_group(init_method="env://")` reads, and what an entry point's own `torchrun` does."""
    address, port = rendezvous.addresses[0], str(rendezvous.ports[0])
    variables = {
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "WORLD_SIZE": str(workers),
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_RANK": str(rank),
        "NODE_RANK": str(rank),
        "PET_NNODES": str(workers),
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": port,
    }
    if rendezvous.is_loopback:
        # Gloo otherwise binds what the host's own name resolves to, which may be nothing or another interface.
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    return variables


def _tensorflow(rank: int, rendezvous: Rendezvous) -> dict[str, str]:
    workers = [_endpoint(*pair) for pair in zip(rendezvous.addresses, rendezvous.tf_ports, strict=True)]
    return {"TF_CONFIG": _json({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})}


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
