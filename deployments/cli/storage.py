"""`makerflow storage ...`: look at and move data with the connections that trainings use."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli import documents
from deployments.cli.fields import count_text, size_text, storage_path
from deployments.cli.loading import command_group
from deployments.cli.output import AsJson, write, write_document, write_table

if TYPE_CHECKING:
    from blocks.domain.paths import StoragePath

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


@app.command("cp")
def copy(
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE... TARGET", help="s3://, obs://, nas://, file:// or local.")
    ],
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Copy all objects below a folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at the target.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy between any two stores. A target that ends in / (or one of several sources) is a folder to copy into."""
    from blocks.connections.platform import open_platform
    from blocks.storage import transfer

    pairs = places(paths)
    copied = []
    for source, target in pairs:
        with _progress(str(source)) as (total, progress):
            copied.append(
                transfer.copy(
                    source,
                    target,
                    open_platform().storage,
                    recursive=recursive,
                    overwrite=overwrite,
                    total=total,
                    progress=progress,
                )
            )
    files, size = sum(one.files for one in copied), sum(one.bytes for one in copied)
    if as_json:
        items = [{"source": str(source), "target": str(target)} for source, target in pairs]
        write_document({"status": "COMPLETE", "files": files, "bytes": size, "items": items})
    else:
        write(f"{count_text(files, 'file')}, {size_text(size)}, to {pairs[0][1] if len(pairs) == 1 else paths[-1]}")


def places(texts: list[str]) -> list[tuple["StoragePath", "StoragePath"]]:
    """What is copied where, from `SOURCE... TARGET`.

    Raises:
        InvalidInputError: There are fewer than two, or one is no path.
    """
    from pathlib import Path

    from blocks.domain.errors import InvalidInputError
    from blocks.domain.paths import StoragePath

    if len(texts) < 2:
        raise InvalidInputError("storage cp", "there is no target", "Give one or more sources, then the target.")
    sources = [StoragePath.parse(storage_path("SOURCE", text)) for text in texts[:-1]]
    last = texts[-1]
    target = StoragePath.parse(storage_path("TARGET", last))
    into = len(sources) > 1 or last.endswith("/") or ("://" not in last and Path(last).expanduser().is_dir())
    return [(source, target / source.name if into else target) for source in sources]


@contextmanager
def _progress(title: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on stderr, if that is a terminal: gives what is told of the total, and of each piece."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
    title_column = TextColumn("{task.description}", markup=False)
    columns = (title_column, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda size: bar.update(task, total=size), lambda size: bar.advance(task, size)
