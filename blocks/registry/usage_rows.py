"""What workers used, as it is written: exact figures for each worker, and a bounded number of buckets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from blocks.domain.plan import Usage, WorkerUsage
from blocks.domain.usage import UsageKind
from blocks.registry.identity import storable, to_us
from blocks.registry.storing import table_of
from blocks.registry.tables import UsageBucketRow, UsageWorkerRow
from blocks.registry.usage_buckets import CAPACITY, Bucket, halve, merge
from blocks.registry.usage_records import UsageFigures

FIGURES: TypeAdapter[dict[UsageKind, UsageFigures]] = TypeAdapter(dict[UsageKind, UsageFigures])
_BUCKETS = table_of(UsageBucketRow)


class UsageRows:
    """The monitoring of trainings, within one transaction, which has to hold the training's row."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, training_id: str, events: Sequence[Usage]) -> None:
        """Add what was sampled, in order."""
        rows = {row.rank: row for row in self._workers(training_id)}
        for event in events:
            for worker in event.workers:
                row = rows.setdefault(worker.rank, UsageWorkerRow(training_id=training_id, rank=worker.rank))
                self._add(row, event, worker)
        self._session.add_all(rows.values())

    def _workers(self, training_id: str) -> Sequence[UsageWorkerRow]:
        return self._session.exec(
            select(UsageWorkerRow).where(col(UsageWorkerRow.training_id) == storable(training_id))
        ).all()

    def _add(self, row: UsageWorkerRow, event: Usage, worker: WorkerUsage) -> None:
        at_us, position = to_us(event.at), row.samples // row.stride
        if position >= CAPACITY:
            self._halve(row)
            position = row.samples // row.stride
        values = {kind.value: value for kind, value in worker.values.items()}
        sample = Bucket(position, at_us, event.seconds, values, values)
        known = self._buckets(row, position) if row.samples % row.stride else []
        self._session.merge(UsageBucketRow(**_row(row, merge([*known, sample], position))))
        row.host, row.attempt, row.network = storable(event.host), event.attempt, event.network.value
        row.samples, row.sampled_us = row.samples + 1, at_us
        row.figures = FIGURES.dump_json(_added(FIGURES.validate_json(row.figures), worker, event.seconds)).decode()

    def _halve(self, row: UsageWorkerRow) -> None:
        buckets = self._buckets(row)
        of_worker = (_BUCKETS.c.training_id == row.training_id, _BUCKETS.c.rank == row.rank)
        self._session.execute(delete(_BUCKETS).where(*of_worker))
        row.stride *= 2
        self._session.execute(insert(_BUCKETS), [_row(row, bucket) for bucket in halve(buckets)])

    def _buckets(self, row: UsageWorkerRow, since: int = 0) -> list[Bucket]:
        chosen = select(UsageBucketRow).where(
            col(UsageBucketRow.training_id) == row.training_id,
            col(UsageBucketRow.rank) == row.rank,
            col(UsageBucketRow.position) >= since,
        )
        found = self._session.exec(chosen.order_by(col(UsageBucketRow.position)))
        return [Bucket(b.position, b.at_us, b.seconds, json.loads(b.means), json.loads(b.maxima)) for b in found]


def _row(row: UsageWorkerRow, bucket: Bucket) -> dict[str, Any]:
    return {
        "training_id": row.training_id,
        "rank": row.rank,
        "position": bucket.position,
        "at_us": bucket.at_us,
        "seconds": bucket.seconds,
        "means": json.dumps(bucket.means),
        "maxima": json.dumps(bucket.maxima),
    }


def _added(
    figures: Mapping[UsageKind, UsageFigures], worker: WorkerUsage, seconds: float
) -> dict[UsageKind, UsageFigures]:
    def of(kind: UsageKind, value: float) -> UsageFigures:
        known = figures.get(kind) or UsageFigures(last=value, min=value, max=value, seconds=0, total=0)
        return known.add(value, seconds)

    return {**figures, **{kind: of(kind, value) for kind, value in worker.values.items()}}
