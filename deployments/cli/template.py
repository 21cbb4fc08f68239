"""`makerflow template ...`: create, list, show, change, copy, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from blocks.domain.errors import InvalidInputError
from deployments.cli import documents, listing
from deployments.cli.deleting import delete_when_confirmed
from deployments.cli.fields import pair_text, tag_filter
from deployments.cli.loading import GroupedCommand, command_group
from deployments.cli.output import AsJson, Yes, reserved_stdout, write, write_document, write_fields
from deployments.cli.settings_options import Settings, SettingsFile, takes_settings

if TYPE_CHECKING:
    from blocks.registry.records import Template

app = command_group("Templates hold settings that many trainings share.")

Key = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name or id.")]


@app.command("create", cls=GroupedCommand)
@takes_settings
def create(settings: Settings, *, file: SettingsFile = None, as_json: AsJson = False) -> None:
    """Create a template: settings that trainings can be made from.

    What is left out is given with a training, or has its default: `makerflow train --from-template`.
    """
    from blocks.domain.templates import TemplateSpec
    from deployments.cli.access import open_registry
    from deployments.cli.settings_file import merged_settings

    spec = TemplateSpec.model_validate(merged_settings(file, settings))
    open_registry()  # makes the home, without which Prefect complains
    with reserved_stdout():
        from flows.template import create_template

        row = create_template(spec)
    _write_made(row, as_json=as_json)


@app.command("list")
def list_templates(
    *,
    name: listing.Name = "",
    tag: listing.Tags = None,
    sort: Annotated[str, typer.Option(help="created, changed or name; '-' in front: descending.")] = "-created",
    limit: listing.Limit = 50,
    cursor: listing.Cursor = "",
    as_json: AsJson = False,
) -> None:
    """List templates, the newest first."""
    from blocks.registry.records import Query
    from deployments.cli.access import open_registry

    query = Query(name=name, tags=tag_filter(tag or []), sort=sort, limit=limit, cursor=cursor)
    listing.write_page(
        open_registry().templates.page(query),
        document=documents.template_summary,
        row=lambda r: [r.name, documents.time_text(r.changed), pair_text(r.tags), r.description, r.id],
        headings=("NAME", "CHANGED", "TAGS", "DESCRIPTION", "ID"),
        empty=listing.empty_text("template", query, "template create --help"),
        as_json=as_json,
    )


@app.command("show")
def show(template: Key, *, as_json: AsJson = False) -> None:
    """Show the settings of a template."""
    from deployments.cli.access import open_registry

    row = open_registry().templates.get(template)
    if as_json:
        write_document(documents.template_document(row))
    else:
        _write_details(row)


@app.command("change", cls=GroupedCommand)
@takes_settings
def change(template: Key, settings: Settings, *, file: SettingsFile = None, as_json: AsJson = False) -> None:
    """Change settings of a template; the others stay.

    Trainings that were made from it stay as they are.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.settings_file import settings_over_template

    if not settings and file is None:
        raise InvalidInputError(
            f"template change {template}", "nothing is given to change", "Give a setting, --unset or -f."
        )
    overrides = settings_over_template(file, settings)
    open_registry().templates.summary(template)  # there is one: what follows takes a second to import
    with reserved_stdout():
        from flows.template import change_template

        row = change_template(template, **overrides)
    if as_json:
        write_document(documents.template_document(row))
    else:
        _write_details(row)


@app.command("copy", cls=GroupedCommand)
@takes_settings
def copy(template: Key, settings: Settings, *, file: SettingsFile = None, as_json: AsJson = False) -> None:
    """Create a template with the settings of another.

    Settings that are given here take the place of the other's.
    """
    from deployments.cli.access import open_registry
    from deployments.cli.settings_file import settings_over_template

    overrides = settings_over_template(file, settings)
    open_registry().templates.summary(template)  # there is one: what follows takes a second to import
    with reserved_stdout():
        from flows.template import copy_template

        row = copy_template(template, **overrides)
    _write_made(row, as_json=as_json)


@app.command("delete")
def delete(template: Key, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a template. Trainings that were made from it stay."""
    from deployments.cli.access import open_registry

    row = open_registry().templates.summary(template)

    def carry_out() -> None:
        from flows.template import delete_template

        delete_template(row.id)

    question, document = f"Delete the template {row.name}?", documents.template_summary(row)
    delete_when_confirmed(question, carry_out, name=row.name, document=document, yes=yes, as_json=as_json)


def _write_made(row: "Template", *, as_json: bool) -> None:
    if as_json:
        write_document(documents.template_document(row))
        return
    write(f"{row.name} is made ({row.id}).\n\nNext\n  makerflow train --from-template {row.name}")


def _write_details(row: "Template") -> None:
    write_fields(
        {
            "name": row.name,
            "id": row.id,
            "description": row.description,
            "tags": pair_text(row.tags),
            "created": documents.time_text(row.created),
            "changed": documents.time_text(row.changed),
        }
    )
    write("\nSettings")
    write_fields({"experiment": row.spec.experiment, **documents.settings_fields(row.spec)})
    if row.spec.algorithm.hyperparameters:
        write("\nHyperparameters")
        write_fields({pair.name: pair.value or '""' for pair in row.spec.algorithm.hyperparameters})
    write(f"\nNext\n  makerflow train --from-template {row.name}")
