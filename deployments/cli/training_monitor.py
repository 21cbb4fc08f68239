"""`makerflow training monitor`: what the workers use, as tables, pictures of text, CSV, a document, or line by line."""

import csv
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.domain.errors import BusyError, InvalidInputError
from blocks.domain.lifecycle import UNDER_WAY, TrainingStatus
from blocks.domain.usage import MEASURES, UsageKind, title_of
from deployments.cli.documents import time_text
from deployments.cli.fields import check_rank, value_text
from deployments.cli.output import clean, write, write_document, write_lines, write_table

if TYPE_CHECKING:
    from blocks.registry.database import Registry
    from blocks.registry.records import Training
    from blocks.registry.usage_records import UsagePoint, WorkerMonitoring

PLOT_WIDTH, PLOT_HEIGHT = 60, 10
PLOTTED_WORKERS = 8
SPARKS = 40
LOOK_AGAIN_SECONDS = 0.5
INSTANCE_HEADINGS = ("RANK", "HOST", "FLAVOR", "STATUS", "ATTEMPT", "SAMPLES", "LAST SAMPLE")
FIGURE_HEADINGS = ("RANK", "MEASURE", "LAST", "MEAN", "MAX")

_BARS = "▁▂▃▄▅▆▇█"

Curves = Mapping[int, Sequence["UsagePoint"]]

_NOT_YET = (TrainingStatus.CREATE_REQUESTED, TrainingStatus.CREATE_IN_PROGRESS)


@dataclass(frozen=True)
class Shown:
    """Which workers are shown, and how.

    Attributes:
        form: `follow`, `csv`, `plot`, `json`, or nothing for tables.
        rank: Only this worker.
        at_most: So many points of a curve; tables have fewer.
    """

    form: str
    rank: int | None
    at_most: int

    @classmethod
    def of(
        cls, *, follow: bool, csv: bool, plot: bool, as_json: bool, rank: int | None = None, at_most: int = 300
    ) -> "Shown":
        """As the options say.

        Raises:
            InvalidInputError: Two forms are given.
        """
        forms = [name for name, given in (("follow", follow), ("csv", csv), ("plot", plot), ("json", as_json)) if given]
        if len(forms) > 1:
            raise InvalidInputError("--follow, --csv, --plot, --json", "two of them are given", "Give one.")
        return cls("".join(forms), rank, at_most if set(forms) & {"csv", "plot", "json"} else SPARKS)


def show(registry: "Registry", row: "Training", shown: Shown) -> None:
    """Print what the workers of a training use, or of a trial, which is one.

    Raises:
        InvalidInputError: It has no worker of this rank.
        BusyError: It is still being created.
    """
    if shown.rank is not None:
        check_rank(shown.rank, row.spec.instances.workers, row.name)
    if shown.form == "follow":
        write_lines(follow(registry, row, shown.rank), live=True)
        row = registry.trainings.get(row.id)
    check_available(row)
    workers = monitored(registry, row, shown.rank)
    curves = {worker.rank: registry.monitoring.curve(row.id, worker.rank, shown.at_most) for worker in workers}
    if shown.form == "json":
        write_document(monitoring_document(row, workers, curves))
    elif shown.form == "csv":
        write_csv(curves)
    elif shown.form == "plot" and workers:
        write_plots(workers, curves)
    else:
        write_monitoring(row, workers, curves)


def check_available(row: "Training") -> None:
    """Refuse what has no monitoring yet.

    Raises:
        BusyError: The training is still being created.
    """
    if row.status in _NOT_YET:
        remedy = "Monitoring begins with its workers; --follow waits for them."
        raise BusyError("training", row.name, row.id, row.status, "monitor", remedy)


def monitored(registry: "Registry", row: "Training", rank: int | None) -> list["WorkerMonitoring"]:
    """The workers that are asked for, as far as they have been looked at."""
    return [worker for worker in registry.monitoring.workers(row.id) if rank in (None, worker.rank)]


def monitoring_document(row: "Training", workers: Sequence["WorkerMonitoring"], curves: Curves) -> dict[str, Any]:
    """The document of `--json`."""
    return {
        "id": row.id,
        "name": row.name,
        "status": row.status.value,
        "flavor": row.spec.instances.flavor,
        "measures": {kind.value: measure._asdict() for kind, measure in MEASURES.items()},
        "instances": [
            figures_document(row, worker) | {"points": [point.model_dump(mode="json") for point in curves[worker.rank]]}
            for worker in workers
        ],
    }


def figures_document(row: "Training", worker: "WorkerMonitoring") -> dict[str, Any]:
    """One instance and its figures."""
    return {
        "rank": worker.rank,
        "host": worker.host,
        "flavor": row.spec.instances.flavor,
        "status": instance_status(row),
        "attempt": worker.attempt,
        "samples": worker.samples,
        "sampled": worker.sampled.isoformat(),
        "network": worker.network.value,
        "usage": {
            kind.value: {"last": found.last, "mean": round(found.mean, 4), "min": found.min, "max": found.max}
            for kind, found in ((kind, worker.figures[kind]) for kind in _kinds_of(worker))
        },
    }


def instance_status(row: "Training") -> str:
    """Workers live and die together, so what they do is what the training does."""
    return row.status.value if row.status in UNDER_WAY else "ENDED"


def write_monitoring(row: "Training", workers: Sequence["WorkerMonitoring"], curves: Curves) -> None:
    """Print the instances and their figures, with a small curve beside each."""
    if not workers:
        write(nothing_yet(row))
        return
    write_table(INSTANCE_HEADINGS, [_instance_row(row, worker) for worker in workers], empty="")
    write("")
    rows = [
        [*_figure_row(worker, kind), sparkline([p.mean[kind] for p in curves[worker.rank] if kind in p.mean])]
        for worker in workers
        for kind in _kinds_of(worker)
    ]
    write_table((*FIGURE_HEADINGS, "SINCE ITS START"), rows, empty="")


def nothing_yet(row: "Training") -> str:
    """Why there is nothing to be seen."""
    if row.status is TrainingStatus.RUNNING:
        return f"{row.name} has just been started; its workers are looked at after a second for the first time."
    return f"{row.name} is {row.status.value}, and none of its workers ran for long enough to be looked at."


def figure_rows(workers: Sequence["WorkerMonitoring"]) -> list[list[str]]:
    """One line for each worker and kind; see `FIGURE_HEADINGS`."""
    return [_figure_row(worker, kind) for worker in workers for kind in _kinds_of(worker)]


def sparkline(values: Sequence[float]) -> str:
    """A curve above zero on one line, one character a value."""
    highest = max(values, default=0.0)
    steps = (int(value / highest * (len(_BARS) - 1) + 0.5) if highest else 0 for value in values)
    return "".join(_BARS[step] for step in steps)


def write_plots(workers: Sequence["WorkerMonitoring"], curves: Curves) -> None:
    """Draw each kind that is more than zeros; the curve of each worker consists of the last digit of its number."""
    from blocks.registry.usage_records import drawn

    shown = workers[:PLOTTED_WORKERS]
    for kind in MEASURES:
        lines = drawn(kind, {worker.rank: curves[worker.rank] for worker in shown})
        if lines:
            write(f"\n{title_of(kind, shown[0].network)}")
            write(_plot(lines))
    if workers != shown:
        write(f"\nThese are the first {PLOTTED_WORKERS} workers; --rank draws another.")


def write_csv(curves: Curves) -> None:
    """Print every stretch of time of every worker and kind, one a line."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(("rank", "at", "seconds", "measure", "mean", "max"))
    for rank, points in curves.items():
        for point in points:
            at = point.at.isoformat()
            lines.writerows((rank, at, point.seconds, kind, point.mean[kind], point.max[kind]) for kind in point.mean)
    write(buffer.getvalue().rstrip("\n"))


def follow(registry: "Registry", row: "Training", rank: int | None) -> Iterator[str]:
    """A line for each worker's new sample, until the training is over."""
    shown: dict[int, int] = {}
    pause = threading.Event()
    while True:
        row = registry.trainings.get(row.id)
        for worker in monitored(registry, row, rank):
            if worker.samples != shown.get(worker.rank):
                shown[worker.rank] = worker.samples
                yield sample_line(worker)
        if row.status not in UNDER_WAY:
            return
        pause.wait(LOOK_AGAIN_SECONDS)


def sample_line(worker: "WorkerMonitoring") -> str:
    """The last sample of a worker on one line; but for CPU and memory only what is not zero."""
    values = (
        f"{_short(kind)} {value_text(found.last)} {measure.unit.partition(' ')[0]}"
        for kind, found, measure in ((kind, worker.figures[kind], MEASURES[kind]) for kind in _kinds_of(worker))
        if found.last or kind in (UsageKind.CPU, UsageKind.MEMORY)
    )
    return f"{time_text(worker.sampled)}  worker {worker.rank} on {clean(worker.host)}: {', '.join(values)}"


def _short(kind: UsageKind) -> str:
    title = MEASURES[kind].title
    return title if title.isupper() or title.startswith("GPU") else title.lower()


def _kinds_of(worker: "WorkerMonitoring") -> list[UsageKind]:
    return [kind for kind in MEASURES if kind in worker.figures]


def _figure_row(worker: "WorkerMonitoring", kind: UsageKind) -> list[str]:
    found = worker.figures[kind]
    title = title_of(kind, worker.network)
    return [str(worker.rank), title, value_text(found.last), f"{found.mean:.4g}", value_text(found.max)]


def _instance_row(row: "Training", worker: "WorkerMonitoring") -> list[str]:
    return [
        str(worker.rank),
        worker.host,
        row.spec.instances.flavor,
        instance_status(row),
        str(worker.attempt),
        str(worker.samples),
        time_text(worker.sampled),
    ]


def _plot(lines: Mapping[int, Sequence[tuple[float, float]]]) -> str:
    import plotille

    figure = plotille.Figure()
    figure.width, figure.height, figure.origin = PLOT_WIDTH, PLOT_HEIGHT, False
    figure.x_label, figure.y_label = "minutes", ""
    figure.register_label_formatter(float, lambda value, chars, *_, **__: f"{value:.4g}".rjust(chars))
    figure.set_y_limits(min_=0)
    for rank, line in lines.items():
        minutes, values = zip(*line, strict=True)
        figure.plot(minutes, values, marker=str(rank % 10) if len(lines) > 1 else None)
    return str(figure.show())
