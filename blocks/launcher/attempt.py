"""One attempt of all workers: their supervisors started, watched and ended together."""

import contextlib
import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from blocks.cluster.layout import RunLayout, write_json
from blocks.cluster.processes import MARKER
from blocks.domain.plan import ExitCause, ExitRecord
from blocks.launcher.supervisor import REMOVED

SUPERVISOR = "import sys; sys.path.append(sys.argv[1]); import supervisor; supervisor.main()"
"""Run so, as a module, it is compiled but once."""


class Attempt:
    """The supervisors of one attempt.

    Attributes:
        records: How each rank ended, once it has.
    """

    def __init__(self, layout: RunLayout, number: int, ended: Callable[[ExitRecord], None]) -> None:
        self.number = number
        self.records: dict[int, ExitRecord] = {}
        self._layout = layout
        self._ended = ended
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._request: dict[str, object] = {}

    def start(self, python: Path, workers: Mapping[int, Mapping[str, object]]) -> None:
        """Start every worker with its document."""
        flags = ["-I", "-S"] + ["-B"] * sys.dont_write_bytecode
        for rank, document in workers.items():
            directory = self._layout.worker(rank)
            write_json(directory / "worker.json", document, durable=False)
            with self._layout.agent_log.open("ab") as log:
                self._running[rank] = subprocess.Popen(
                    [str(python), *flags, "-c", SUPERVISOR, str(Path(__file__).parent), str(directory)],
                    stdin=subprocess.PIPE,  # never written to: it is closed when this process is gone
                    stdout=log,
                    stderr=log,
                    env={"PATH": os.environ.get("PATH", os.defpath), MARKER: str(self._layout.directory)},
                    start_new_session=True,
                )

    @property
    def running(self) -> bool:
        """Whether a supervisor has not ended yet."""
        return bool(self._running)

    def supervisors(self) -> dict[int, int]:
        """Rank to process id of the supervisors that have not ended; from any thread."""
        return {rank: process.pid for rank, process in self._running.copy().items()}

    def look(self) -> None:
        """Take note of the supervisors that have ended meanwhile."""
        for rank, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[rank]
                if process.stdin:
                    process.stdin.close()
                self._note(rank, f"Its supervisor ended with status {process.returncode} and without a word.")

    def end(self, cause: ExitCause, message: str, grace_seconds: float) -> None:
        """Ask all that still run to end, for this reason; `look` tells when they have."""
        request = {"cause": cause, "message": message, "grace_seconds": grace_seconds}
        if request == self._request:
            return
        self._request = request
        for rank, process in self._running.items():
            with contextlib.suppress(OSError):  # on a full disk it ends all the same, for the usual reason
                write_json(self._layout.worker(rank) / f"stop-{self.number}.json", request, durable=False)
            process.terminate()

    def gather(self, ranks: Iterable[int]) -> None:
        """The records of an attempt that an earlier agent started; nothing of it runs any more."""
        for rank in ranks:
            self._note(rank, "Its agent and its supervisor were gone: the machine failed, or killed them.")

    def _note(self, rank: int, otherwise: str) -> None:
        file = self._layout.exit_record(rank, self.number)
        try:
            record = ExitRecord.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            now = datetime.datetime.now(datetime.UTC)
            removed = not file.parent.exists()
            cause, message = (ExitCause.USER_ERROR, REMOVED) if removed else (ExitCause.LOST, otherwise)
            record = ExitRecord(attempt=self.number, rank=rank, began=None, ended=now, cause=cause, message=message)
            if self._layout.directory.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, record.model_dump(mode="json"))
        self.records[rank] = record
        self._ended(record)
