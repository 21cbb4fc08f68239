"""What workers use, as a part of a report: of a training figures and pictures, of a tuning a table of what runs."""

from collections.abc import Sequence

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.usage import MEASURES, UsageKind, title_of
from blocks.registry.monitoring import Monitoring
from blocks.registry.records import TrainingSummary, Trial, Tuning
from blocks.registry.usage_records import WorkerMonitoring, drawn
from tasks.markdown import chart, table

_TOGETHER = (UsageKind.CPU, UsageKind.MEMORY, UsageKind.GPU, UsageKind.GPU_MEMORY)

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


def running_report(row: Tuning, trials: Sequence[Trial], monitoring: Monitoring) -> str:
    """Where the trials of a tuning run that run now, and what their workers use, as Markdown; else empty."""
    running = [trial for trial in trials if trial.status is TrialStatus.RUNNING]
    rows = [
        (str(trial.number), str(worker.rank), worker.host, *(_last(worker, kind) for kind in _TOGETHER))
        for trial in running[:DRAWN_WORKERS]
        for worker in monitoring.workers(trial.training_id)[:DRAWN_WORKERS]
    ]
    if not rows:
        return ""
    titles = [f"{MEASURES[kind].title}, {MEASURES[kind].unit}" for kind in _TOGETHER]
    more = f"\n\nAll that run: `makerflow tuning monitor {row.name}`." if len(running) > DRAWN_WORKERS else ""
    return table(("Trial", "Worker", "Host", *titles), rows) + more


def _last(worker: WorkerMonitoring, kind: UsageKind) -> str:
    return f"{worker.figures[kind].last:.6g}" if kind in worker.figures else ""


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
