"""The journal of flow runs, as it is written."""

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from blocks.domain.moments import to_microseconds
from blocks.registry.identity import now_us
from blocks.registry.records import FlowRunRecord
from blocks.registry.storing import changed_rows, upsert
from blocks.registry.tables import FlowRunRow

KEPT = 1000


class FlowRunRows:
    """The journal, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def record(self, record: FlowRunRecord, *, seen: bool = False) -> None:
        """Write a run down, over what was written of it before; of those that are over only the newest are kept.

        Args:
            record: The run.
            seen: A server sees it itself and need not be told.
        """
        ended_us = None if record.ended is None else to_microseconds(record.ended)
        row = FlowRunRow(
            id=record.id,
            started_us=to_microseconds(record.started),
            ended_us=ended_us,
            exported_us=now_us() if seen else None,
            record=record.model_dump_json(),
        )
        upsert(self._session, row, "id")
        is_over = col(FlowRunRow.ended_us).is_not(None)
        order = (col(FlowRunRow.started_us).desc(), col(FlowRunRow.id))
        newest = select(FlowRunRow.id).where(is_over).order_by(*order).limit(KEPT)
        self._session.execute(delete(FlowRunRow).where(is_over, col(FlowRunRow.id).not_in(newest)))

    def end(self, id: str) -> None:
        """Keep nothing of a run."""
        self._session.execute(delete(FlowRunRow).where(col(FlowRunRow.id) == id))

    def forget(self, id: str) -> bool:
        """Keep no more of a run than that it was; False when that was done before."""
        waiting = (col(FlowRunRow.id) == id, col(FlowRunRow.exported_us).is_(None))
        statement = update(FlowRunRow).where(*waiting).values(exported_us=now_us(), record="")
        return changed_rows(self._session, statement) == 1
