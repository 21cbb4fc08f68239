"""What workers used, as it is written: exact figures for each worker, and a bounded number of buckets."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from blocks.domain.moments import to_microseconds
from blocks.domain.plan import Usage, WorkerUsage
from blocks.domain.usage import UsageKind
from blocks.registry.identity import storable
from blocks.registry.tables import UsageBucketRow, UsageWorkerRow
from blocks.registry.usage_buckets import CAPACITY, Bucket, halve, merge
from blocks.registry.usage_records import UsageFigures

FIGURES: TypeAdapter[dict[UsageKind, UsageFigures]] = TypeAdapter(dict[UsageKind, UsageFigures])


class UsageRows:
    """The monitoring of trainings, within one transaction, which has to hold the training's row."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, training_id: str, events: Sequence[Usage]) -> None:
        """Add what was sampled, in order."""
        ranks = {used.rank for event in events for used in event.workers}
        own = (col(UsageWorkerRow.training_id) == storable(training_id), col(UsageWorkerRow.rank).in_(ranks))
        known = select(UsageWorkerRow).where(*own)
        workers = {row.rank: _Worker(self._session, row) for row in self._session.exec(known)}
        for event in events:
            for used in event.workers:
                if used.rank not in workers:
                    row = UsageWorkerRow(training_id=training_id, rank=used.rank)
                    workers[used.rank] = _Worker(self._session, row)
                workers[used.rank].add(event, used)
        rows = [row for worker in workers.values() for row in worker.write()]
        if rows:
            self._session.execute(insert(UsageBucketRow), rows)


class _Worker:
    """One worker's row, and those of its last buckets that have changed."""

    def __init__(self, session: Session, row: UsageWorkerRow) -> None:
        self._session, self._row = session, row
        self._figures = FIGURES.validate_json(row.figures)
        self._changed = self._stored(row.samples // row.stride) if row.samples % row.stride else []
        self._replaces = bool(self._changed)

    def add(self, event: Usage, used: WorkerUsage) -> None:
        """Count one sample."""
        row = self._row
        if row.samples // row.stride >= CAPACITY:
            self._halve()
        position, values = row.samples // row.stride, {kind.value: value for kind, value in used.values.items()}
        sample = Bucket(position, to_microseconds(event.at), event.seconds, values, values)
        if self._changed and self._changed[-1].position == position:
            sample = merge([self._changed.pop(), sample], position)
        self._changed.append(sample)
        row.host, row.attempt, row.network = storable(event.host), event.attempt, event.network.value
        row.samples, row.sampled_us = row.samples + 1, sample.at_us
        for kind, value in used.values.items():
            known = self._figures.get(kind) or UsageFigures(last=value, min=value, max=value, seconds=0, total=0)
            self._figures[kind] = known.add(value, event.seconds)

    def write(self) -> list[dict[str, Any]]:
        """Keep the row, and remove what has changed; the rows that come in its place."""
        self._row.figures = FIGURES.dump_json(self._figures).decode()
        self._session.add(self._row)
        if self._replaces:
            behind = col(UsageBucketRow.position) >= self._changed[0].position
            self._session.execute(delete(UsageBucketRow).where(*self._own(), behind))
        return [_row(self._row, bucket) for bucket in self._changed]

    def _halve(self) -> None:
        first = self._changed[0].position if self._changed else CAPACITY
        stored = [bucket for bucket in self._stored() if bucket.position < first]
        self._changed = halve([*stored, *self._changed])
        self._row.stride *= 2
        self._replaces = True

    def _stored(self, since: int = 0) -> list[Bucket]:
        chosen = select(UsageBucketRow).where(*self._own(), col(UsageBucketRow.position) >= since)
        found = self._session.exec(chosen.order_by(col(UsageBucketRow.position)))
        return [Bucket(b.position, b.at_us, b.seconds, json.loads(b.means), json.loads(b.maxima)) for b in found]

    def _own(self) -> tuple[Any, Any]:
        return col(UsageBucketRow.training_id) == self._row.training_id, col(UsageBucketRow.rank) == self._row.rank


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
