"""What the registry answers about the use of machines: frozen records."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from blocks.domain.plan import Frozen
from blocks.domain.usage import UsageKind, UsageScope


class UsageFigures(Frozen):
    """A kind's figures over all samples of a worker; exact, also where the curve is condensed.

    Attributes:
        seconds: What the samples cover together.
        total: Value times seconds over all samples, of which the mean is made.
    """

    last: float
    min: float
    max: float
    seconds: float
    total: float

    @property
    def mean(self) -> float:
        """Over time: a sample that covers a minute counts sixty times as much as one that covers a second."""
        return self.total / self.seconds

    def add(self, value: float, seconds: float) -> "UsageFigures":
        """With one more sample."""
        return UsageFigures(
            last=value,
            min=min(self.min, value),
            max=max(self.max, value),
            seconds=self.seconds + seconds,
            total=self.total + value * seconds,
        )


class WorkerMonitoring(Frozen):
    """What is known of one worker.

    Attributes:
        host: Where it ran when the last sample was taken.
        attempt: The attempt of that sample.
        network: Whose traffic the network's figures are.
        samples: How many there were; each is in the figures.
        sampled: When the last one was taken.
    """

    rank: int
    host: str
    attempt: int
    network: UsageScope
    samples: int
    sampled: datetime
    figures: dict[UsageKind, UsageFigures]


class UsagePoint(Frozen):
    """A stretch of time of a worker.

    Attributes:
        at: Its end.
        seconds: Its length, without the pauses between attempts.
    """

    at: datetime
    seconds: float
    mean: dict[UsageKind, float]
    max: dict[UsageKind, float]


def drawn(kind: UsageKind, curves: Mapping[int, Sequence[UsagePoint]]) -> dict[int, list[tuple[float, float]]]:
    """What a picture of a kind shows, by worker: minutes since the first of all began, and means.

    Args:
        kind: Of what.
        curves: By worker, each with a point at least.

    Returns:
        Workers that have the kind; nothing where there is nothing but zeros to be drawn.
    """
    began = min(curve[0].at - timedelta(seconds=curve[0].seconds) for curve in curves.values())
    lines = {
        rank: [((p.at - began).total_seconds() / 60, p.mean[kind]) for p in curve if kind in p.mean]
        for rank, curve in curves.items()
    }
    return {rank: line for rank, line in lines.items() if line} if _is_seen(lines.values()) else {}


def _is_seen(lines: Iterable[Sequence[tuple[float, float]]]) -> bool:
    return any(value for line in lines for _, value in line)
