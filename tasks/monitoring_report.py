"""What the workers of a training use, as a part of its report: figures, and one picture for each kind."""

from collections.abc import Sequence

from blocks.domain.usage import MEASURES, title_of
from blocks.registry.monitoring import Monitoring
from blocks.registry.records import TrainingSummary
from blocks.registry.usage_records import WorkerMonitoring, drawn
from tasks.markdown import chart, table

DRAWN_WORKERS = 8
DRAWN_POINTS = 120
"""A page with more can be neither read nor drawn every few seconds."""


def monitoring_report(row: TrainingSummary, monitoring: Monitoring) -> str:
    """As Markdown; empty as long as there is nothing to show."""
    workers = monitoring.workers(row.id)
    if not workers:
        return ""
    shown = workers[:DRAWN_WORKERS]
    points = {worker.rank: monitoring.curve(row.id, worker.rank, DRAWN_POINTS) for worker in shown}
    pictures = [
        chart(
            title_of(kind, shown[0].network), {f"worker {rank}": line for rank, line in lines.items()}, below="minutes"
        )
        for kind in MEASURES
        if (lines := drawn(kind, points))
    ]
    more = f"All {len(workers)} workers: `makerflow training monitor {row.name}`." if workers != shown else ""
    return "\n\n".join(part for part in (_figures(shown), *pictures, more) if part)


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
