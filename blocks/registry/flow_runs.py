"""Flow runs that no workflow server saw, kept until one can be told."""

from blocks.registry.reading import Reader
from blocks.registry.records import FlowRunRecord, UnendedFlowRun
from blocks.registry.sessions import Sessions

_PENDING = (
    "SELECT record FROM flow_run WHERE exported_us IS NULL AND ended_us IS NOT NULL "
    "ORDER BY started_us, id LIMIT :limit"
)
_UNENDED = "SELECT record, exported_us FROM flow_run WHERE ended_us IS NULL ORDER BY started_us, id"


class FlowRuns:
    """A journal of at most 1,000 runs that are over, older ones are forgotten; and of all that are not."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def record(self, record: FlowRunRecord) -> None:
        """Write a run down, over what was written of it before."""
        with self._sessions.begin() as write:
            write.flow_runs.record(record)

    def begin(self, record: FlowRunRecord) -> None:
        """Write down that a run begins that a server sees itself, or what became of it since; `end` it."""
        with self._sessions.begin() as write:
            write.flow_runs.record(record, seen=True)

    def end(self, id: str) -> None:
        """Forget a run that a server sees itself: it ended, and the server knows how."""
        with self._sessions.begin() as write:
            write.flow_runs.end(id)

    def unended(self) -> list[UnendedFlowRun]:
        """Runs that began and did not end, or not yet, oldest first."""
        rows = self._reader.rows(_UNENDED)
        return [
            UnendedFlowRun(
                record=FlowRunRecord.model_validate_json(row["record"]), is_seen=row["exported_us"] is not None
            )
            for row in rows
        ]

    def pending(self, limit: int = 1000) -> list[FlowRunRecord]:
        """Runs that are over and that a server is still to be told of, oldest first."""
        rows = self._reader.rows(_PENDING, limit=limit)
        return [FlowRunRecord.model_validate_json(row["record"]) for row in rows]

    def forget(self, id: str) -> bool:
        """Tell no server of the run any more: one knows it, or refuses it; False when it was forgotten before."""
        with self._sessions.begin() as write:
            return write.flow_runs.forget(id)
