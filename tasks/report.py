"""The page where a user looks: one Markdown report per training, with what failed and what to do on top."""

from collections.abc import Sequence

from blocks.domain.lifecycle import UNDER_WAY, TrainingStatus
from blocks.domain.metric_hints import Diagnosis
from blocks.domain.metrics import MetricPoint
from blocks.domain.moments import minutes_text
from blocks.gateway.routes import BOARDS_PREFIX
from blocks.registry.database import Registry
from blocks.registry.records import Series, Training
from tasks.markdown import chart, table
from tasks.monitoring_report import monitoring_report

PLOTTED_METRICS = 12
PLOTTED_POINTS = 300

_FAILED = (TrainingStatus.FAIL_TRAIN, TrainingStatus.FAIL_TRAIN_IN_PROGRESS, TrainingStatus.CREATE_FAILED)


def training_report(row: Training, registry: Registry, warning: Diagnosis | None = None) -> str:
    """The report of one training as Markdown; a warning says why its output has reported no metric yet."""
    metrics = registry.metrics
    series = metrics.names(row.id)
    parts = [_failure(row)] if row.status in _FAILED else []
    parts += [_warning(warning) if warning else "", _settings(row)]
    parts += [_metrics(series) or ("" if warning else _no_metrics(row))]
    parts += [
        _plot(found.name, metrics.curve(row.id, found.name, PLOTTED_POINTS)) for found in series[:PLOTTED_METRICS]
    ]
    parts += [monitoring_report(row, registry.monitoring), _outputs(row), _elsewhere(row)]
    return "\n\n".join(part for part in parts if part)


def _failure(row: Training) -> str:
    quoted = "\n".join(f"    {line}" for line in row.reason.splitlines()[:60])
    return (
        f"## {row.status}\n\n{quoted}\n\n"
        f"What to do: `makerflow training logs {row.name}` shows the whole output; "
        f"`makerflow training copy {row.name}` starts again with the same settings."
    )


def _warning(warning: Diagnosis) -> str:
    lines = [warning.message, *(f"  {line}" for line in warning.lines), f"What to do: {warning.suggestion}"]
    return "## Warning\n\n" + "\n".join(f"    {line}" for line in lines)


def _no_metrics(row: Training) -> str:
    """Of a training that is over: what it printed is only looked at when somebody asks."""
    if row.started is None or row.status in UNDER_WAY:
        return ""
    return f"No metric was found in what it printed: `makerflow metrics test {row.name}` shows why."


def _settings(row: Training) -> str:
    spec = row.spec
    rows = {
        "Status": row.status,
        "Training time": f"{row.training_seconds / 60:.1f} minutes" if row.started else "",
        "Experiment": row.experiment_name,
        "Template": row.template.name if row.template else "",
        "Algorithm": spec.algorithm.path or spec.algorithm.provided.value,
        "Entry point": spec.algorithm.entry_point,
        "Image": spec.instances.image,
        "Flavor": spec.instances.flavor,
        "Workers": spec.instances.workers,
        **{f"Dataset {dataset.name}": dataset.path for dataset in spec.inputs.datasets},
        "Input checkpoint": spec.inputs.checkpoint,
        "Time limit": f"{minutes_text(spec.limits.max_minutes)} after its first start",
        **{f"--{pair.name}": pair.value for pair in spec.algorithm.hyperparameters},
    }
    return table(("Setting", "Value"), [(name, str(value)) for name, value in rows.items() if value != ""])


def _metrics(series: Sequence[Series]) -> str:
    if not series:
        return ""
    rows = [
        (s.name, _number(s.last), str(s.last_step), _number(s.min), _number(s.max), str(s.count), str(s.not_finite))
        for s in series
    ]
    return table(("Metric", "Last", "Step", "Min", "Max", "Reports", "Not finite"), rows)


def _outputs(row: Training) -> str:
    if row.plan is None:
        return ""
    return table(("Output", "Path"), [(output.kind.value, output.path) for output in row.plan.outputs])


def _elsewhere(row: Training) -> str:
    board = f"{BOARDS_PREFIX}/{row.experiment_id}/"
    return (
        f"TensorBoard: [{board}]({board}) when `makerflow up` serves this page, "
        f"else `makerflow experiment tensorboard {row.experiment_name}`.\n\n"
        f"Logs: `makerflow training logs {row.name}`. Monitoring: `makerflow training monitor {row.name}`."
    )


def _plot(name: str, points: Sequence[MetricPoint]) -> str:
    finite = [(point.step, point.value) for point in points if point.value is not None]
    if not finite:
        return ""
    return chart(name, {name: finite})


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
