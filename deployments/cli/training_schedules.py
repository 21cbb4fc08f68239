"""`makerflow training schedule`, `schedules` and `unschedule`: trainings that are created again and again."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.fields import count_text, duration_text, seconds
from deployments.cli.output import AsJson, reserved_stdout, write, write_document, write_table

if TYPE_CHECKING:
    from deployments.schedules import TrainingSchedule

HEADINGS = ("NAME", "WHEN", "TIME ZONE", "ACTIVE", "ID")


def schedule(
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="Name or id.")],
    *,
    cron: Annotated[
        str, typer.Option(help="Minute, hour, day, month, weekday: '0 3 * * *' is each night at three.", metavar="RULE")
    ] = "",
    every: Annotated[str, typer.Option(help="Or how often: 1d, 6h, 30m; 1m to 3650d.", metavar="TIME")] = "",
    timezone: Annotated[str, typer.Option(help="E.g. Asia/Tokyo; this machine's when not given.", metavar="ZONE")] = "",
    as_json: AsJson = False,
) -> None:
    """Create a training with these settings on a schedule, each under a name of its own.

    The settings are those that the training has now. `makerflow up` has to run: now, and when the time comes. Of the
    times at which it did not run, the last one is made up for once it runs again.
    """
    every_seconds = seconds("--every", every) if every else 0
    with reserved_stdout():
        from deployments.schedules import schedule_training

        made = schedule_training(training, cron=cron, every_seconds=every_seconds, timezone=timezone)
    if as_json:
        write_document(asdict(made))
    else:
        write(f"{made.name} is trained {_when(made)} ({made.timezone}).")


def schedules(*, as_json: AsJson = False) -> None:
    """List the schedules on which trainings are created, those made in the workflow UI as well."""
    with reserved_stdout():
        from deployments.schedules import training_schedules

        found = training_schedules()
    if as_json:
        write_document({"items": [asdict(one) for one in found]})
        return
    rows = [[one.name, _when(one), one.timezone, "yes" if one.active else "no", one.id] for one in found]
    write_table(HEADINGS, rows, empty="No training is on a schedule.")


def unschedule(
    name: Annotated[str, typer.Argument(help="The schedule's name, as `schedules` lists it, or its id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """End a schedule. The trainings that it created stay; what it has asked for and has not begun is dropped."""
    with reserved_stdout():
        from deployments.schedules import unschedule_training

        dropped = unschedule_training(name)
    if as_json:
        write_document({"name": name, "status": "REMOVED", "flow_runs_dropped": dropped})
        return
    write(f"{name} is no longer on a schedule.")
    if dropped:
        write(f"Dropped, for they were due and had not begun: {count_text(dropped, 'flow run')}.")


def _when(one: "TrainingSchedule") -> str:
    return f"at {one.cron}" if one.cron else f"every {duration_text(one.every_seconds)}"
