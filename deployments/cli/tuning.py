"""`makerflow tuning ...`: preview, list, show, monitor, resume, stop, dashboard, copy, change, delete; its trials."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.domain.errors import InvalidInputError, NotFoundError
from deployments.cli import fields, listing, tuning_dashboard, tuning_documents
from deployments.cli.changing import add_change, add_copy, stopping, tell_stopping
from deployments.cli.deleting import delete_when_confirmed
from deployments.cli.loading import GroupedCommand, command_group
from deployments.cli.output import AsJson, Yes, reserved_stdout, write, write_document, write_items, write_table
from deployments.cli.settings_options import Detach, FromTemplate, Settings, SettingsFile
from deployments.cli.tuning_options import TUNING, takes_tuning_settings
from deployments.cli.tuning_plot import plot

if TYPE_CHECKING:
    from blocks.registry.database import Registry
    from blocks.registry.records import Trial, TuningSummary
    from deployments.cli.tuning_running import TuningSubject

app = command_group("Preview, list, show, monitor, resume, stop, copy and delete tunings, and look at their trials.")

_OF_LIST = (
    "\n\nWith the time taken, how many trainings have run, run and have failed, and the best one with its objective "
    "value."
)

Key = Annotated[str, typer.Argument(metavar="TUNING", help="Name or id.")]


def _listed() -> "listing.Listed[TuningSummary]":
    from blocks.domain.lifecycle import TuningStatus
    from deployments.cli.access import open_registry

    return listing.Listed(
        TuningStatus,
        open_registry().tunings.page,
        tuning_documents.tuning_summary,
        tuning_documents.tuning_row,
        tuning_documents.TUNING_HEADINGS,
    )


def _subject() -> "TuningSubject":
    from deployments.cli.tuning_running import TuningSubject

    return TuningSubject()


@app.command("preview", cls=GroupedCommand)
@takes_tuning_settings
def preview(
    settings: Settings,
    *,
    tuning: Annotated[
        str | None,
        typer.Argument(metavar="TUNING", help="One whose settings are taken, by name or id.", show_default=False),
    ] = None,
    file: SettingsFile = None,
    from_template: FromTemplate = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a tuning would take before it is made.

    How many trials, how long at most, on how many instances, and the first points.

    It takes the options of makerflow tune, or the name of a tuning and what is to be other. Nothing is created.
    """
    from deployments.cli import tuning_preview

    if tuning is not None and from_template is not None:
        raise InvalidInputError("--from-template", "a tuning is given as well", "Give one of them.")
    with reserved_stdout():
        found = tuning_preview.preview(tuning_preview.spec_of(tuning, file, from_template, settings))
    if as_json:
        write_document(tuning_preview.preview_document(found))
    else:
        tuning_preview.write_preview(found)


listing.add_list(app, "tuning", _listed, made_by="tune --help", more=_OF_LIST)


@app.command("show")
def show(tuning: Key, *, as_json: AsJson = False) -> None:
    """Show settings, progress, best trial, history.

    With where the best one's outputs are, the reason when it failed, and what to do next.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.tuning_details import read_details, show_document, write_details

    registry = open_registry()
    details = read_details(registry, tuning)
    moves = registry.tunings.history(details.row.id)
    if as_json:
        write_document(show_document(details, moves))
    else:
        write_details(details, moves)


@app.command("trials")
def trials(
    tuning: Key,
    *,
    status: listing.Statuses = None,
    sort: Annotated[str, typer.Option(help="number, or objective: the best first.")] = "number",
    as_json: AsJson = False,
) -> None:
    """List the trials of a tuning.

    Each with its number, status, objective value, hyperparameters and reason; with --json as a list.
    """
    from blocks.domain.lifecycle import TrialStatus
    from deployments.cli.access import open_registry

    wanted = listing.status_words(status, TrialStatus)
    if sort not in ("number", "objective"):
        raise InvalidInputError(f"--sort {sort!r}", "there is no such order", "Use number or objective.")
    tunings = open_registry().tunings
    row = tunings.get(tuning)
    found = [trial for trial in tunings.trials(row.id) if not wanted or trial.status in wanted]
    if sort == "objective":
        found = tuning_documents.best_first(found, row.spec)
    if as_json:
        write_items(tuning_documents.trial_document(row.name, trial) for trial in found)
        return
    lines = [tuning_documents.trial_row(trial) for trial in found]
    write_table(tuning_documents.TRIAL_HEADINGS, lines, empty=f"{row.name} has no such trials.")


@app.command("trial")
def trial(
    tuning: Key,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of the trial, from 1.", min=1)],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a trial with all of its metrics.

    With its objective value, hyperparameters, status and outputs. Its training is called TUNING/NUMBER: makerflow
    training logs, metrics and monitor take that name.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.tuning_details import trial_details, write_trial

    registry = open_registry()
    row = registry.tunings.get(tuning)
    found = _trial_of(registry, row, number)
    training, series = registry.trainings.get(found.training_id), registry.metrics.names(found.training_id)
    if as_json:
        write_document(trial_details(row, found, training, series))
    else:
        write_trial(row, found, training, series)


@app.command("monitor")
def monitor(
    tuning: Key,
    *,
    number: Annotated[
        int | None,
        typer.Option("--trial", help="One trial, also one that is over: what it used over time.", min=1, metavar="N"),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print samples of the trial as they come.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point of the trial as CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the trial's curves as text.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where the running trials run, and what they use.

    With --trial what one of them has used since its start, as makerflow training monitor TUNING/N does.
    """
    from deployments.cli import tuning_monitor
    from deployments.cli.access import open_registry
    from deployments.cli.training_monitor import Shown, show

    shown = Shown.of(follow=follow, csv=csv, plot=plot, as_json=as_json)
    registry = open_registry()
    row = registry.tunings.get(tuning)
    if number is not None:
        trial = _trial_of(registry, row, number)
        show(registry, registry.trainings.get(trial.training_id), shown)
    elif shown.form not in ("", "json"):
        raise InvalidInputError(f"--{shown.form}", "no trial is given", "Say which one: --trial N.")
    else:
        tuning_monitor.show(row, tuning_monitor.running_trials(registry, row), as_json=as_json)


@app.command("resume")
def resume(
    tuning: Key,
    *,
    max_trainings: Annotated[
        int | None, typer.Option(help="How many trainings are to have run in all.", metavar="N", show_default=False)
    ] = None,
    max_failed: Annotated[
        int | None, typer.Option(help="How many may fail in all.", metavar="N", show_default=False)
    ] = None,
    parallel: Annotated[int | None, typer.Option(help="How many at once.", metavar="N", show_default=False)] = None,
    max_tuning_time: Annotated[
        str | None,
        typer.Option(help="Maximum time, that of before included: 30m, 2h.", metavar="TIME", show_default=False),
    ] = None,
    goal: Annotated[
        float | None, typer.Option(help="A value that is good enough.", metavar="VALUE", show_default=False)
    ] = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a tuning until its end.

    One whose process died, that was stopped, that failed, or that is COMPLETE: limits can be raised. What is finished
    stays, what was ended with the tuning is run again. One that another process runs is waited for, and then takes the
    limits that are given.
    """
    from blocks.connections.platform import open_platform
    from deployments.cli.access import open_registry
    from deployments.cli.running import follow_to_end, leave_to_others

    seconds = None if max_tuning_time is None else fields.seconds("--max-tuning-time", max_tuning_time)
    given = {
        "max_trainings": max_trainings,
        "max_failed_trainings": max_failed,
        "parallel_trainings": parallel,
        "max_tuning_minutes": None if seconds is None else seconds / 60,
        "goal": goal,
    }
    limits: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    row = open_registry().tunings.get(tuning)
    row.spec.changed(**limits)  # refused before anything is imported that takes a while

    def begin() -> str:
        from flows.tuning import TuningHandle

        return TuningHandle.resumed(row.id, **limits).id

    if detach:
        leave_to_others(_subject(), begin, name=row.name, as_json=as_json)
        return

    def run() -> None:
        from flows.tuning import resume_tuning

        resume_tuning(row.id, **limits)

    open_platform().check_cluster(row.plan)  # refused before anything is shown
    subject = _subject()
    follow_to_end(subject, run, name=row.name, find=lambda: subject.get(row.id), as_json=as_json)


@app.command("stop")
def stop(
    tuning: Key,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accepted; stopping never asks.", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Stop a tuning: its running trainings are ended.

    When the command returns, no process of it is left. What has been found is kept, and the tuning can be resumed.
    """
    from blocks.domain.lifecycle import TUNING_UNDER_WAY
    from deployments.cli.access import open_registry

    tunings = open_registry().tunings
    tell_stopping(tunings.summary(tuning), TUNING_UNDER_WAY)
    with reserved_stdout():
        from flows.tuning import stop_tuning

        with stopping(tuning, lambda: tunings.summary(tuning).status):
            row = stop_tuning(tuning)
    if as_json:
        write_document(tuning_documents.tuning_summary(row))
    else:
        write(f"{row.name} is {row.status.value}. Go on with it: makerflow tuning resume {row.name}")


app.command("dashboard")(tuning_dashboard.dashboard)
app.command("plot")(plot)
add_copy(app, "tuning", _subject, TUNING)
add_change(app, "tuning", _subject)


@app.command("delete")
def delete(tuning: Key, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a tuning that is over, with its trials. What they wrote to their output paths stays."""
    from deployments.cli.access import open_registry

    registry = open_registry()
    row = registry.tunings.summary(tuning)
    registry.tunings.guard_delete(row.id)

    def carry_out() -> None:
        from flows.tuning import delete_tuning

        delete_tuning(row.id)

    document = tuning_documents.tuning_summary(row)
    delete_when_confirmed(_question(row), carry_out, name=row.name, document=document, yes=yes, as_json=as_json)


def _trial_of(registry: "Registry", row: "TuningSummary", number: int) -> "Trial":
    try:
        return registry.tunings.trial(row.id, number)
    except NotFoundError:
        raise NotFoundError("trial", f"{row.name}/{number}") from None


def _question(row: "TuningSummary") -> str:
    trials = fields.count_text(row.completed + row.running + row.failed + row.killed, "trial")
    return f"Delete the tuning {row.name} ({row.status.value}) with its {trials}, their metrics and histories?"
