"""What crosses the seam between a flow and its workers: the plan down, events and exit records up.

Everything here is frozen, JSON, versioned, and holds no secret. `blocks/launcher/supervisor.py`, which runs in the
user's interpreter with the standard library only, reads and writes the same JSON without these classes.
"""

from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from blocks.domain.usage import UsageKind, UsageScope

PLAN_VERSION: Literal[1] = 1


class Frozen(BaseModel):
    """A value: never changed, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedObject(Frozen):
    """One object or file of an input, as it was when the run was planned.

    Attributes:
        key: Relative to the planned path, `/`-separated, already checked to stay inside the directory it is staged to.
        path: The full storage path, as printed in errors.
        size: Bytes.
        etag: The store's ETag without quotes; for a directory `{size}-{mtime_ns}-{inode}`. Equal ETags of one path mean
            equal content.
    """

    key: str
    path: str
    size: int = Field(ge=0)
    etag: str


class InputKind(StrEnum):
    """What an input is for; it decides the directory and the variable of the entry point's environment."""

    SOURCE = "source"
    DATASET = "dataset"
    CHECKPOINT = "checkpoint"


class PlannedInput(Frozen):
    """One path to stage before the workers start."""

    kind: InputKind
    name: str = ""
    path: str
    connection: str = ""
    objects: tuple[PlannedObject, ...]


class OutputKind(StrEnum):
    """What an output is; it decides when it is uploaded."""

    MODEL = "model"  # once, after every worker ended well
    CHECKPOINT = "checkpoint"  # while the entry point runs, and at its end however it ends
    TENSORBOARD = "tensorboard"  # the same
    LOG = "log"  # at the end, however it ends; from a pod, whose node may be lost, also while it runs


class PlannedOutput(Frozen):
    """One directory of the worker and where its files go.

    Worker 0 uploads to `path`; a further worker to `{path}/worker-{rank}/`.
    """

    kind: OutputKind
    path: str
    connection: str = ""


class Resources(Frozen):
    """What one worker gets."""

    vcpus: float = Field(gt=0)
    memory_mib: int = Field(gt=0)
    gpus: int = Field(default=0, ge=0)


class Toleration(Frozen):
    """A taint of nodes that pods put up with, with Kubernetes' own words."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class PodShape(Frozen):
    """What a flavor stands for on Kubernetes beside its CPU and memory; on one machine it means nothing.

    Attributes:
        requests: Resource name to quantity, on top of those of CPU, memory and GPUs, or instead of them.
        limits: The same of limits.
        node_selector: The labels that a node has to have.
        tolerations: Taints that it may have.
        priority_class: Which pods are served first.
        gpu_resource: The resource's name by which GPUs are asked for.
    """

    requests: dict[str, str] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str = ""
    gpu_resource: str = "nvidia.com/gpu"


class RunImage(Frozen):
    """The environment that the entry point runs in: a catalogue entry, resolved for this cluster.

    Attributes:
        name: The catalogue's key.
        python: An interpreter version such as `3.11`, or the absolute path of an interpreter to use as it is.
        requirements: Exact requirements of the locked recipe; empty for a bare interpreter.
        container: The container image on Kubernetes.
        container_python: The interpreter in that image, 3.8 or later: a name on its PATH or an absolute path.
    """

    name: str
    python: str
    requirements: tuple[str, ...] = ()
    container: str = ""
    container_python: str = "python3"


class RestartPolicy(Frozen):
    """How often all workers are restarted together after an infrastructure failure of one.

    Attributes:
        budget: Restarts in all.
        out_of_memory: How many of them an out-of-memory kill may use.
    """

    budget: int = Field(default=3, ge=0)
    out_of_memory: int = Field(default=1, ge=0)


class LogPolicy(Frozen):
    """What is kept of each worker's output.

    Attributes:
        limit_mib: Kept per worker; past it the middle is dropped, with a mark that says how many bytes.
        kept: Whether the lines also go to the log store (TRN-10).
    """

    limit_mib: int = Field(default=1024, ge=1)
    kept: bool = False


class RunPlan(Frozen):
    """All that the workers of one run need. Keyed by `run_id`: launching the same plan twice is launching it once.

    Attributes:
        place: The `Cluster.place` that it is for; empty where that is not known.
    """

    version: Literal[1] = PLAN_VERSION
    run_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    place: str = ""
    created: datetime
    labels: dict[str, str] = Field(default_factory=dict)
    workers: int = Field(ge=1)
    resources: Resources
    pod: PodShape = PodShape()
    image: RunImage
    entry_point: str
    arguments: tuple[str, ...] = ()
    hyperparameters: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[PlannedInput, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    storage_mib: int = Field(gt=0)
    time_limit_seconds: float = Field(gt=0)
    stop_grace_seconds: float = Field(default=10, ge=0)
    restarts: RestartPolicy = RestartPolicy()
    logs: LogPolicy = LogPolicy()

    @property
    def has_requirements(self) -> bool:
        """Whether a requirements.txt is beside the entry point."""
        beside = str(PurePosixPath(self.entry_point).parent / "requirements.txt")
        return any(found.key == beside for i in self.inputs if i.kind is InputKind.SOURCE for found in i.objects)


class RunHandle(Frozen):
    """By which any process finds a run again. Serialisable, stored on the resource's row."""

    cluster: str
    run_id: str


class ExitCause(StrEnum):
    """Why a worker ended."""

    OK = "ok"
    USER_ERROR = "user_error"
    INPUT_MISSING = "input_missing"
    INPUT_CHANGED = "input_changed"
    OUTPUT_DENIED = "output_denied"
    ENVIRONMENT_FAILED = "environment_failed"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    LOST = "lost"
    LAUNCHER_ERROR = "launcher_error"


class ExitRecord(Frozen):
    """How one rank's attempt ended.

    Attributes:
        attempt: From 1.
        code: The entry point's exit code; None when a signal ended it or it never ran.
        signal: The signal's number, when one ended it.
        message: One sentence for people, with what to do.
        tail: The last lines of output, newest last, at most 4 KiB.
    """

    attempt: int = Field(ge=1)
    rank: int = Field(ge=0)
    began: datetime | None
    ended: datetime
    code: int | None = None
    signal: int | None = None
    cause: ExitCause
    message: str = ""
    tail: str = ""


class _Event(Frozen):
    """Common to all events: which run, which number in the run's own sequence (from 1, without gaps), and when."""

    run_id: str
    sequence: int = Field(ge=1)
    at: AwareDatetime


class Queued(_Event):
    """The run waits; `reason` says for what: for room, or that something lacks that is known to be needed."""

    kind: Literal["queued"] = "queued"
    reason: str


class Placed(_Event):
    """The run has its room on the cluster."""

    kind: Literal["placed"] = "placed"
    where: str


class Staging(_Event):
    """Inputs are being fetched, or the environment is being built."""

    kind: Literal["staging"] = "staging"
    step: Literal["inputs", "environment"]
    done_bytes: int = 0
    total_bytes: int = 0
    cached_bytes: int = 0
    finished: bool = False


class Started(_Event):
    """The entry point runs on all ranks; `deadline` is fixed at the first start and survives restarts."""

    kind: Literal["started"] = "started"
    attempt: int
    deadline: datetime


class Checkpointed(_Event):
    """One more file of a checkpoint has arrived at the checkpoint output path."""

    kind: Literal["checkpointed"] = "checkpointed"
    path: str
    size: int


class WorkerUsage(Frozen):
    """What one worker used; a kind that cannot be measured where it runs is left out."""

    rank: int = Field(ge=0)
    values: dict[UsageKind, FiniteFloat]


class Usage(_Event):
    """What workers of one host used, as means over the last `seconds` (memory and disk: now).

    They come ever more rarely as a run grows old, so that a run of months has some ten thousand of them.
    """

    kind: Literal["usage"] = "usage"
    attempt: int
    seconds: FiniteFloat = Field(gt=0)
    host: str
    network: UsageScope
    workers: tuple[WorkerUsage, ...]


class Exited(_Event):
    """One rank ended; see the record."""

    kind: Literal["exited"] = "exited"
    record: ExitRecord


class Restarted(_Event):
    """All ranks are started again together."""

    kind: Literal["restarted"] = "restarted"
    attempt: int
    cause: str

    @property
    def said(self) -> str:
        """The same for people."""
        return f"all workers start again (attempt {self.attempt}): {self.cause}"


class Uploaded(_Event):
    """An output is at its place, verified."""

    kind: Literal["uploaded"] = "uploaded"
    output: OutputKind
    path: str
    files: int
    bytes: int


class Finished(_Event):
    """The run is over on the cluster: all workers are gone, all that could be uploaded is. The last event of a run.

    Attributes:
        cause: `ok`, or the cause of the rank that decided the outcome.
        message: One sentence for people, with what to do.
    """

    kind: Literal["finished"] = "finished"
    cause: ExitCause
    message: str = ""


RunEvent = Annotated[
    Queued | Placed | Staging | Started | Usage | Checkpointed | Exited | Restarted | Uploaded | Finished,
    Field(discriminator="kind"),
]


class RunPhase(StrEnum):
    """Where a run stands on its cluster."""

    QUEUED = "queued"
    STAGING = "staging"
    RUNNING = "running"
    FINISHED = "finished"
    LOST = "lost"  # the cluster holds it, but what ran it died without a word


class RunState(Frozen):
    """What the cluster knows of one run now.

    Attributes:
        processes: How many processes or pods of it live.
        detail: Why it waits, or what is wrong.
        is_stopping: Whether it was asked to end, whatever has come of that.
    """

    handle: RunHandle
    labels: dict[str, str]
    phase: RunPhase
    is_stopping: bool = False
    attempt: int = 0
    processes: int = 0
    detail: str = ""


class StopReport(Frozen):
    """What a stop ended.

    Attributes:
        terminated: Processes that ended on the polite signal.
        killed: Processes that had to be killed.
        remaining: Processes that are still there: 0 unless the machine itself refuses to end one.
    """

    terminated: int = 0
    killed: int = 0
    remaining: int = 0


class LogLine(Frozen):
    """One line of a worker's output.

    Attributes:
        text: Without its end; broken UTF-8 is replaced, a line over 64 KiB is cut into pieces.
        cursor: Pass it as `since` to go on after this line.
        is_note: Whether it is no output, but says how much of it is missing there.
    """

    rank: int
    text: str
    cursor: int
    is_note: bool = False
