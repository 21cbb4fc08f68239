"""The cluster's interface: what runs workers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from blocks.domain.paths import StoragePath
from blocks.domain.plan import LogLine, RunEvent, RunHandle, RunPhase, RunPlan, RunState, StopReport


@dataclass(frozen=True)
class Selector:
    """Which runs are meant: those with this id (when given) that carry all of these labels."""

    run_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """What there is of one run.

    Attributes:
        phase: None when there are no records of it.
        processes: How many processes or pods of it live.
        changed: When its records changed last.
        labels: Those of its plan; none when there are no records of it.
    """

    run_id: str
    phase: RunPhase | None
    processes: int
    changed: datetime
    labels: Mapping[str, str] = field(default_factory=dict)


Cursor = Mapping[str, int]
"""How far a watcher has read: run id to the sequence number of the last event it has dealt with."""

Secrets = Mapping[str, Mapping[str, str]]
"""Connection name to what the agent needs to open it. It reaches the agent only, never the plan, a file or the entry
point."""


class OutputRead(NamedTuple):
    """What `Cluster.read_output` found.

    Attributes:
        data: Whole lines of output.
        cursor: To go on from.
        cut_at: The cursor from which on output is missing up to `cursor`, as it cannot be had from the cluster any
            more; `data` then says so, if it is known that there was any. None where nothing is missing.
    """

    data: bytes
    cursor: int
    cut_at: int | None = None


class Cluster(ABC):
    """Runs the workers of a plan and reports on them.

    Implementations keep no state that the cluster itself does not hold, so any process can follow, stop or remove a
    run by its handle, and asking twice changes nothing.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """Which cluster it is, as `MAKERFLOW_CLUSTER` names it, then `/` and a part of it, where it has parts."""

    @abstractmethod
    def reaches(self, path: StoragePath) -> bool:
        """Whether workers can read and write this path, given the connection to its store."""

    @abstractmethod
    def launch(self, plan: RunPlan, secrets: Secrets | None = None) -> RunHandle:
        """Start the run, or queue it until there is room. Keyed by `plan.run_id`: a second call finds the first.

        Called for a run whose agent died without a word (phase LOST), it ends what is left of the run and goes on
        from its last checkpoint, within the same time limit and restart budget.

        Raises:
            CapacityError: The plan can never fit on this cluster; it says what was asked and what there is.
            ClusterUnavailableError: The cluster does not answer.
        """

    @abstractmethod
    def watch(
        self, selector: Selector, since: Cursor | None = None, *, idle_seconds: float | None = None
    ) -> Iterator[RunEvent | None]:
        """All events of the selected runs, each run's in order and without gaps, then new ones as they happen.

        Args:
            selector: Which runs; those that match later are included.
            since: Only what came after.
            idle_seconds: Yield None whenever nothing has happened for this long. Without it, wait for ever.
        """

    @abstractmethod
    def logs(self, handle: RunHandle, rank: int, *, follow: bool, since: int = 0) -> Iterator[LogLine]:
        """One worker's output, over all of its attempts, in order; nothing lost or doubled across a reconnect.

        Args:
            handle: The run.
            rank: The worker; one that has not printed anything yet has no lines.
            follow: Go on until the run is over or removed; otherwise end at the last whole line that is there now.
            since: The cursor of the last line dealt with.

        Raises:
            NotFoundError: The cluster does not hold this run.
        """

    @abstractmethod
    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        """What `logs` tells, in bulk: whole lines of one worker's output as bytes, and the cursor to go on from.

        It does not wait: no data and the same cursor means that there is no new whole line now. Lines end in a line
        feed. At most about `at_most` bytes are read at once; a line that is longer is cut. The cursors are those of
        `logs`.

        Raises:
            NotFoundError: The cluster does not hold this run.
        """

    @abstractmethod
    def position_of(self, cursor: int) -> tuple[int, int]:
        """The attempt, from 1 on, and the byte of its output that a cursor of `logs` stands for.

        Where the output of all attempts is one stream, they count as one.
        """

    @abstractmethod
    def stop(self, handle: RunHandle, grace_seconds: float, secrets: Secrets | None = None) -> StopReport:
        """End the whole run: politely, after `grace_seconds` by force, and prove that nothing is left.

        It returns when all is gone, also for a run that waits in the queue, was never started, or is over.

        Args:
            handle: The run.
            grace_seconds: Between asking the workers to end and ending them by force.
            secrets: With them what the workers left is uploaded also when what ran them has died.
        """

    @abstractmethod
    def remove(self, handle: RunHandle) -> None:
        """Remove what the run left on the cluster, scratch and records; twice is fine.

        Raises:
            InUseError: The run is not over yet.
        """

    @abstractmethod
    def removal_of(self, run_id: str) -> str:
        """What a person has to do to end and remove a run that no registry knows: the end of a sentence."""

    @abstractmethod
    def find(self, selector: Selector) -> list[RunState]:
        """What the cluster knows (not what anybody remembers), oldest first."""

    @abstractmethod
    def traces(self) -> list[Trace]:
        """All that there is of any run, also what `find` does not tell: processes without records, and the reverse."""

    @abstractmethod
    def tidy(self) -> list[str]:
        """Remove what processes that died left half made or half removed, and say what it was; runs stay untouched."""
