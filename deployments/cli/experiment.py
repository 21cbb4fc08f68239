"""`makerflow experiment ...`: create, list, show, tensorboard, retry, change, delete."""

from typing import Annotated

import typer

from deployments.cli import documents, listing
from deployments.cli.deleting import delete_when_confirmed
from deployments.cli.loading import command_group
from deployments.cli.output import (
    AsJson,
    Yes,
    reserved_stdout,
    write,
    write_document,
    write_fields,
    write_table,
)
from deployments.cli.tuning_documents import TUNING_HEADINGS, tuning_row, tuning_summary

app = command_group("Experiments group trainings and tunings that belong together.")

Key = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name or id.")]
Description = Annotated[str, typer.Option(help="Free text.", show_default=False)]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Its name, unique among experiments.")],
    *,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Create an experiment."""
    from blocks.domain.specs import ExperimentSpec
    from deployments.cli.access import open_registry

    spec = ExperimentSpec(name=name, description=description)
    open_registry()  # makes the home, without which Prefect complains
    with reserved_stdout():
        from flows.experiment import create_experiment

        row = create_experiment(spec)
    if as_json:
        write_document(documents.experiment_document(row))
    else:
        write(f"{row.name} is {row.status.value} ({row.id}).")


@app.command("list")
def list_experiments(
    *,
    status: listing.Statuses = None,
    name: listing.Name = "",
    sort: listing.Sort = "-created",
    limit: listing.Limit = 50,
    cursor: listing.Cursor = "",
    as_json: AsJson = False,
) -> None:
    """List experiments, the newest first."""
    from blocks.domain.lifecycle import ExperimentStatus
    from blocks.registry.records import Query
    from deployments.cli.access import open_registry

    statuses = listing.status_words(status, ExperimentStatus)
    query = Query(status=statuses, name=name, sort=sort, limit=limit, cursor=cursor)
    listing.write_page(
        open_registry().experiments.page(query),
        document=documents.experiment_document,
        row=lambda r: [r.name, r.status.value, documents.time_text(r.created), r.description, r.id],
        headings=("NAME", "STATUS", "CREATED", "DESCRIPTION", "ID"),
        empty=listing.empty_text("experiment", query, "experiment create NAME"),
        as_json=as_json,
    )


@app.command("show")
def show(experiment: Key, *, as_json: AsJson = False) -> None:
    """Show an experiment, its trainings and its tunings."""
    from blocks.registry.records import Query
    from deployments.cli.access import open_registry, read_settings

    registry = open_registry()
    row = registry.experiments.get(experiment)
    trainings = registry.trainings.page(Query(experiment=row.id)).items
    tunings = registry.tunings.page(Query(experiment=row.id)).items
    moves = registry.experiments.history(row.id)
    events = str(read_settings().home / "tensorboard" / row.id)
    if as_json:
        write_document(
            documents.experiment_document(row)
            | {
                "tensorboard": events,
                "history": documents.history_document(moves),
                "trainings": [documents.training_summary(training) for training in trainings],
                "tunings": [tuning_summary(tuning) for tuning in tunings],
            }
        )
        return
    write_fields(
        {
            "name": row.name,
            "id": row.id,
            "status": row.status.value,
            "reason": row.reason,
            "description": row.description,
            "created": documents.time_text(row.created),
            "tensorboard": f"makerflow experiment tensorboard {row.name}",
        }
    )
    write("")
    rows = [documents.training_row(training) for training in trainings]
    write_table(documents.TRAINING_HEADINGS, rows, empty="It has no trainings yet.")
    if tunings:
        write("")
        write_table(TUNING_HEADINGS, [tuning_row(tuning) for tuning in tunings], empty="")


@app.command("tensorboard")
def tensorboard(
    experiment: Key,
    *,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show where the experiment's TensorBoard is, and open it: all of its trainings, as they run.

    The browser enters without being asked. Where none is opened, and with --json, the address that is shown does so:
    once, and within a minute. On a terminal that one is always shown.
    """
    from blocks.gateway.routes import board_prefix
    from deployments.cli.access import open_registry, read_settings
    from deployments.cli.boards import board_url, show_board

    row, settings = open_registry().experiments.get(experiment), read_settings()
    events = settings.home / "tensorboard" / row.id
    otherwise = f"`tensorboard --logdir {events}`"
    url = board_url(settings, board_prefix(row.id), "The experiment's TensorBoard", otherwise)
    events.mkdir(parents=True, exist_ok=True, mode=0o700)
    show_board(settings, url, {"id": row.id, "name": row.name}, open_it=open_it, as_json=as_json)


@app.command("retry")
def retry(experiment: Key, *, as_json: AsJson = False) -> None:
    """Recover an experiment whose creation failed."""
    with reserved_stdout():
        from flows.experiment import retry_experiment

        row = retry_experiment(experiment)
    if as_json:
        write_document(documents.experiment_document(row))
    else:
        write(f"{row.name} is {row.status.value}.")


@app.command("change")
def change(experiment: Key, *, description: Description, as_json: AsJson = False) -> None:
    """Change the description of an experiment."""
    with reserved_stdout():
        from flows.experiment import change_experiment

        row = change_experiment(experiment, description=description)
    if as_json:
        write_document(documents.experiment_document(row))
    else:
        write_fields({"name": row.name, "description": row.description})


@app.command("delete")
def delete(experiment: Key, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an experiment that holds no trainings and no tunings."""
    from deployments.cli.access import open_registry

    row = open_registry().experiments.get(experiment)

    def carry_out() -> None:
        from flows.experiment import delete_experiment

        delete_experiment(row.id)

    question, document = f"Delete the experiment {row.name}?", documents.experiment_document(row)
    delete_when_confirmed(question, carry_out, name=row.name, document=document, yes=yes, as_json=as_json)
