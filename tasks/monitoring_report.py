"""What the workers of a training use, as a part of its report: figures, and one picture for each kind."""

from collections.abc import Mapping, Sequence

from blocks.domain.usage import MEASURES, UsageKind, title_of
from blocks.registry.monitoring import Monitoring
from blocks.registry.records import TrainingSummary
from blocks.registry.usage_records import UsagePoint, WorkerMonitoring, beginning
from tasks.markdown import Curve, chart, table

DRAWN_WORKERS = 8
DRAWN_POINTS = 120
"""A page with more can be neither read nor drawn every few seconds."""


def monitoring_report(row: TrainingSummary, monitoring: Monitoring) -> str:
    """As Markdown; empty as long as there is nothing to show."""
    workers = monitoring.workers(row.id)
    if not workers:
        return ""
    drawn = workers[:DRAWN_WORKERS]
    points = {worker.rank: monitoring.curve(row.id, worker.rank, DRAWN_POINTS) for worker in drawn}
    began = beginning(points.values()).timestamp()
    pictures = [
        chart(title_of(kind, drawn[0].network), curves, below="minutes")
        for kind in MEASURES
        if (curves := _curves(kind, points, began))
    ]
    more = f"All {len(workers)} workers: `makerflow training monitor {row.name}`." if workers != drawn else ""
    return "\n\n".join(part for part in (_figures(drawn), *pictures, more) if part)


def _figures(workers: Sequence[WorkerMonitoring]) -> str:
    rows = [
        (
            str(worker.rank),
            worker.host,
            title_of(kind, worker.network),
            f"{f.last:.6g}",
            f"{f.mean:.4g}",
            f"{f.max:.6g}",
        )
        for worker in workers
        for kind in MEASURES
        if (f := worker.figures.get(kind))
    ]
    return table(("Worker", "Host", "Monitoring", "Last", "Mean", "Max"), rows)


def _curves(kind: UsageKind, points: Mapping[int, Sequence[UsagePoint]], began: float) -> dict[str, Curve]:
    """Minutes since the beginning, and the mean; nothing when there is nothing but zeros to be drawn."""
    curves = {
        f"worker {rank}": [((p.at.timestamp() - began) / 60, p.mean[kind]) for p in of_rank if kind in p.mean]
        for rank, of_rank in points.items()
    }
    return {name: curve for name, curve in curves.items() if curve} if any(_values(curves)) else {}


def _values(curves: Mapping[str, Curve]) -> list[float]:
    return [value for curve in curves.values() for _, value in curve]
