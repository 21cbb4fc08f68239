"""What workers used, kept in a bounded number of buckets of which each says how much at most, and how much as a mean.

Samples are counted from 0. With a *stride* of s each s samples in a row are one bucket. When there are too many buckets
two neighbours become one: the longest run has no more rows than `CAPACITY`, and no peak is lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CAPACITY = 720
"""Buckets kept of one worker at most."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Samples in a row.

    Attributes:
        position: The number of the bucket, from 0.
        at_us: When the last of them was taken.
        seconds: What they cover together.
        means: Kind to mean over that time.
        maxima: Kind to the highest.
    """

    position: int
    at_us: int
    seconds: float
    means: Mapping[str, float]
    maxima: Mapping[str, float]


def merge(buckets: Sequence[Bucket], position: int) -> Bucket:
    """One bucket in the place of some, at least one, that follow each other."""
    kinds = {kind for bucket in buckets for kind in bucket.means}
    return Bucket(
        position,
        buckets[-1].at_us,
        sum(bucket.seconds for bucket in buckets),
        {kind: _mean((b.means[kind], b.seconds) for b in buckets if kind in b.means) for kind in kinds},
        {kind: max(bucket.maxima[kind] for bucket in buckets if kind in bucket.maxima) for kind in kinds},
    )


def halve(buckets: Sequence[Bucket]) -> list[Bucket]:
    """What a stride of twice the length gives."""
    pairs: dict[int, list[Bucket]] = {}
    for bucket in buckets:
        pairs.setdefault(bucket.position // 2, []).append(bucket)
    return [merge(pair, position) for position, pair in pairs.items()]


def condense(buckets: Sequence[Bucket], at_most: int) -> list[Bucket]:
    """At most this many, from as many neighbours each."""
    width = -(-len(buckets) // at_most) or 1
    return [merge(buckets[begin : begin + width], begin // width) for begin in range(0, len(buckets), width)]


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    total = weight = 0.0
    for value, seconds in weighted:
        total, weight = total + value * seconds, weight + seconds
    return total / weight
