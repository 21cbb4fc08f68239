"""`makerflow storage ...`: look at and move data with the connections that trainings use."""

from typing import Annotated

import typer

from deployments.cli import documents
from deployments.cli.fields import size_text, storage_path
from deployments.cli.loading import command_group
from deployments.cli.output import AsJson, write_document, write_table

app = command_group("Look at and move data in object stores, NAS and directories.")


@app.command("ls")
def list_entries(
    path: Annotated[str, typer.Argument(help="s3://, obs://, nas://, file:// or local.")],
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All objects below it.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is at or below a path."""
    from blocks.connections.platform import open_platform
    from blocks.domain.paths import StoragePath
    from blocks.storage.base import Rights

    place = StoragePath.parse(storage_path("PATH", path))
    storage = open_platform().storage(place)
    entries = list(storage.entries(place, recursive=recursive))
    if not entries and place.key:
        storage.check(place, Rights.READ)  # raises when there is nothing to be empty
    if as_json:
        items = [
            {
                "key": entry.key,
                "size": entry.size,
                "modified": entry.modified.isoformat() if entry.modified else None,
                "etag": entry.etag,
                "folder": entry.is_folder,
            }
            for entry in entries
        ]
        write_document({"path": str(place), "items": items})
        return
    rows = [
        ["" if e.size is None else size_text(e.size), documents.time_text(e.modified), e.key + "/" * e.is_folder]
        for e in entries
    ]
    write_table(("SIZE", "MODIFIED", "NAME"), rows, empty="It is empty.")
