"""`makerflow training ...`: list, show, logs, metrics, monitor, resume, stop, copy, change, schedule, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from blocks.domain.errors import InvalidInputError
from blocks.registry.thinning import LEAST_SPREAD
from deployments.cli import documents, fields, listing, training_schedules
from deployments.cli.changing import add_change, add_copy, stopping, tell_stopping
from deployments.cli.deleting import delete_when_confirmed
from deployments.cli.loading import command_group
from deployments.cli.output import (
    AsJson,
    Yes,
    reserved_stdout,
    write,
    write_document,
    write_lines,
    write_listing,
    write_table,
)
from deployments.cli.settings_options import TRAINING, Detach

if TYPE_CHECKING:
    from blocks.registry.records import TrainingSummary
    from deployments.cli.training_running import TrainingSubject

app = command_group("List, show, follow, monitor, schedule, stop, copy and delete trainings.")

Key = Annotated[str, typer.Argument(metavar="TRAINING", help="Name or id.")]


def _listed() -> "listing.Listed[TrainingSummary]":
    from blocks.domain.lifecycle import TrainingStatus
    from deployments.cli.access import open_registry

    return listing.Listed(
        TrainingStatus,
        open_registry().trainings.page,
        documents.training_summary,
        documents.training_row,
        documents.TRAINING_HEADINGS,
    )


def _subject() -> "TrainingSubject":
    from deployments.cli.training_running import TrainingSubject

    return TrainingSubject()


listing.add_list(app, "training", _listed, made_by="train --help")


@app.command("show")
def show_training(training: Key, *, as_json: AsJson = False) -> None:
    """Show settings, history, outputs, metrics, workers and what they use.

    With the reason when it failed, and what to do next.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.training_details import training_details, workers_of, write_details

    registry = open_registry()
    row = registry.trainings.get(training)
    series, moves = registry.metrics.names(row.id), registry.trainings.history(row.id)
    workers, monitored = workers_of(row), registry.monitoring.workers(row.id)
    if as_json:
        write_document(training_details(row, series, moves, workers, monitored))
    else:
        write_details(row, series, moves, workers, monitored)


@app.command("logs")
def show_logs(
    training: Key,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the training is over.")] = False,
    rank: Annotated[int, typer.Option(help="Which worker.", min=0)] = 0,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", help="Only the last so many lines.", min=0, show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a worker has printed."""
    from deployments.cli.access import open_registry
    from deployments.cli.training_logs import read_log

    row = open_registry().trainings.get(training)
    lines = read_log(row, rank, follow=follow, tail=tail)
    if as_json:
        write_listing({"id": row.id, "name": row.name, "rank": rank}, "lines", lines)
    else:
        write_lines(lines, live=follow)


@app.command("metrics")
def show_metrics(
    training: Key,
    *,
    name: Annotated[list[str] | None, typer.Option(help="Only this metric; repeatable.", metavar="METRIC")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves as text.")] = False,
    at_most: Annotated[int, typer.Option(help="Points of a curve; longer ones are thinned.", min=LEAST_SPREAD)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show metrics as a table, CSV, a picture or JSON.

    The table holds exact figures; --csv, --plot and --json show the curves, thinned to --at-most points.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.training_metrics import metrics_document, selected, write_csv, write_plots

    if csv + plot + as_json > 1:
        raise InvalidInputError("--csv, --plot, --json", "two of them are given", "Give one.")
    registry = open_registry()
    row = registry.trainings.get(training)
    series = selected(registry.metrics.names(row.id), name or [], row.name)
    curves = {
        one.name: registry.metrics.curve(row.id, one.name, at_most) if csv or plot or as_json else [] for one in series
    }
    if as_json:
        write_document(metrics_document(row, series, curves))
    elif csv:
        write_csv(curves)
    elif plot:
        write_plots(curves)
    else:
        rows = [documents.series_row(one) for one in series]
        empty = f"{row.name} has not reported a metric. `makerflow metrics test {row.name}` shows why."
        write_table(documents.SERIES_HEADINGS, rows, empty=empty)


@app.command("monitor")
def monitor(
    training: Key,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print samples as they come, to the end.")] = False,
    rank: Annotated[int | None, typer.Option(help="Only this worker.", min=0, show_default=False)] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves as text.")] = False,
    at_most: Annotated[int, typer.Option(help="Points of a curve; longer ones are condensed.", min=1)] = 300,
    as_json: AsJson = False,
) -> None:
    """Show what the workers use: CPU, memory, disk, network, GPU.

    The table holds what is now, and the mean and the highest of all samples; --csv, --plot and --json show the curves.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.training_monitor import Shown, show

    registry = open_registry()
    shown = Shown.of(follow=follow, csv=csv, plot=plot, as_json=as_json, rank=rank, at_most=at_most)
    show(registry, registry.trainings.get(training), shown)


@app.command("resume")
def resume(training: Key, *, detach: Detach = False, as_json: AsJson = False) -> None:
    """Go on with a training whose flow died.

    Also with one whose creation failed, and with one that is followed in the background: until its end.
    """
    from blocks.connections.platform import open_platform
    from blocks.domain.lifecycle import UNDER_WAY
    from deployments.cli.access import open_registry
    from deployments.cli.running import follow_to_end, leave_to_others

    row = open_registry().trainings.get(training)

    def begin() -> str:
        from flows.training import TrainingHandle

        return TrainingHandle.resumed(row.id).id

    if detach:
        leave_to_others(_subject(), begin, name=row.name, as_json=as_json)
        return

    def run() -> None:
        from flows.training import resume_training

        resume_training(row.id)

    if row.status in UNDER_WAY:
        open_platform().check_cluster(row.plan)  # refused before anything is shown
    subject = _subject()
    follow_to_end(subject, run, name=row.name, find=lambda: subject.get(row.id), as_json=as_json)


@app.command("stop")
def stop(
    training: Key,
    *,
    grace: Annotated[
        str, typer.Option(help="Time between asking the workers to end and ending them by force.")
    ] = "10s",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accepted; stopping never asks.", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Stop a training: its workers are ended.

    When the command returns, no process of it is left. Checkpoints and logs are kept.
    """
    from blocks.domain.lifecycle import UNDER_WAY
    from deployments.cli.access import open_registry

    seconds = fields.seconds("--grace", grace)
    trainings = open_registry().trainings
    tell_stopping(trainings.get(training), UNDER_WAY)
    with reserved_stdout():
        from flows.training import stop_training

        with stopping(training, lambda: trainings.get(training).status):
            row = stop_training(training, grace_seconds=seconds)
    if as_json:
        write_document(documents.training_summary(row))
    else:
        write(f"{row.name} is {row.status.value}.")


add_copy(app, "training", _subject, TRAINING)
add_change(app, "training", _subject)


@app.command("delete")
def delete(training: Key, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a training that is over. What it wrote to its output paths stays."""
    from deployments.cli.access import open_registry

    row = open_registry().trainings.get(training)

    def carry_out() -> None:
        from flows.training import delete_training

        delete_training(row.id)

    question = f"Delete the training {row.name} ({row.status.value}) with its metrics and history?"
    document = documents.training_summary(row)
    delete_when_confirmed(question, carry_out, name=row.name, document=document, yes=yes, as_json=as_json)


app.command("schedule")(training_schedules.schedule)
app.command("schedules")(training_schedules.schedules)
app.command("unschedule")(training_schedules.unschedule)
