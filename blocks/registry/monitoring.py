"""What the workers of trainings used: exact figures, bounded curves. `Trainings.follow` writes it."""

import json

from blocks.domain.moments import from_microseconds
from blocks.registry.reading import Reader, Row
from blocks.registry.usage_buckets import Bucket, condense
from blocks.registry.usage_records import UsagePoint, WorkerMonitoring

_WORKERS = (
    "SELECT rank, host, attempt, network, samples, sampled_us, figures FROM usage_worker "
    "WHERE training_id = :id ORDER BY rank"
)
_CURVE = (
    "SELECT position, at_us, seconds, means, maxima FROM usage_bucket "
    "WHERE training_id = :id AND rank = :rank ORDER BY position"
)


class Monitoring:
    """What was sampled of each worker; of a training whose workers have not been looked at yet there is nothing."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def workers(self, training_id: str) -> list[WorkerMonitoring]:
        """The figures of each worker, rank 0 first."""
        return [_worker(row) for row in self._reader.rows(_WORKERS, id=training_id)]

    def curve(self, training_id: str, rank: int, at_most: int = 300) -> list[UsagePoint]:
        """What one worker used over time, in at most this many stretches (at least one), oldest first."""
        buckets = [_bucket(row) for row in self._reader.rows(_CURVE, id=training_id, rank=rank)]
        return [_point(bucket) for bucket in condense(buckets, at_most)]


def _worker(row: Row) -> WorkerMonitoring:
    values = dict(row)
    sampled = from_microseconds(values.pop("sampled_us"))
    return WorkerMonitoring.model_validate(values | {"sampled": sampled, "figures": json.loads(values["figures"])})


def _bucket(row: Row) -> Bucket:
    means, maxima = json.loads(row["means"]), json.loads(row["maxima"])
    return Bucket(row["position"], row["at_us"], row["seconds"], means, maxima)


def _point(bucket: Bucket) -> UsagePoint:
    mean, highest = bucket.means, bucket.maxima
    return UsagePoint(at=from_microseconds(bucket.at_us), seconds=bucket.seconds, mean=mean, max=highest)
