"""`makerflow training metrics`: curves as a document, as CSV, as a picture of text."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blocks.domain.errors import InvalidInputError
from deployments.cli.output import clean, write

if TYPE_CHECKING:
    from blocks.domain.metrics import MetricPoint
    from blocks.registry.records import Series, TrainingSummary

PLOT_WIDTH, PLOT_HEIGHT = 60, 14

Curves = Mapping[str, Sequence["MetricPoint"]]


def selected(series: Sequence["Series"], names: Sequence[str], training: str) -> list["Series"]:
    """The metrics of these names; all when none is given.

    Raises:
        InvalidInputError: A name is not among them.
    """
    known = {one.name: one for one in series}
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"--name {name!r}",
                f"{training} has not reported it",
                f"It has reported: {', '.join(known) or 'nothing'}.",
            )
    return [known[name] for name in names] if names else list(series)


def metrics_document(row: "TrainingSummary", series: Sequence["Series"], curves: Curves) -> dict[str, Any]:
    """The document of `--json`; a value that is not finite is null, its text beside it."""
    return {
        "id": row.id,
        "name": row.name,
        "metrics": {
            one.name: one.model_dump(mode="json", exclude={"name"}) | {"points": [_point(p) for p in curves[one.name]]}
            for one in series
        },
    }


def write_csv(curves: Curves) -> None:
    """Print every point, one a line; the value as it was printed, so that nan and inf stay what they are."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(("metric", "step", "value", "rank", "at"))
    for name, points in curves.items():
        lines.writerows((name, point.step, point.text, point.rank, point.at.isoformat()) for point in points)
    write(buffer.getvalue().rstrip("\n"))


def write_plots(curves: Curves) -> None:
    """Draw each curve."""
    import plotille

    for name, points in curves.items():
        finite = [(point.step, point.value) for point in points if point.value is not None]
        write(f"\n{clean(name)}")
        if finite:
            steps, values = zip(*finite, strict=True)
            write(plotille.plot(steps, values, width=PLOT_WIDTH, height=PLOT_HEIGHT, X_label="step", Y_label=""))
        else:
            write("  no finite value")


def _point(point: "MetricPoint") -> dict[str, Any]:
    return point.model_dump(mode="json", include={"step", "value", "text", "rank", "at"})
