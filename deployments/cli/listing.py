"""What the commands that list something have in common: their filters, and how a page is printed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from deployments.cli.fields import status_word, tag_filter
from deployments.cli.output import AsJson, write, write_document, write_table

if TYPE_CHECKING:
    from blocks.registry.records import Page, Query

ItemT = TypeVar("ItemT")

Statuses = Annotated[list[str] | None, typer.Option("--status", help="Of this status; repeatable.", metavar="STATUS")]
Name = Annotated[str, typer.Option("--name", help="Part of the name, or a pattern with * and ?.", show_default=False)]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="With this tag; repeatable.", metavar="K[=V]")]
Experiment = Annotated[str, typer.Option("--experiment", help="Of this experiment, by name or id.", show_default=False)]
Sort = Annotated[str, typer.Option("--sort", help="created, changed, name or status; '-' in front: descending.")]
Limit = Annotated[int, typer.Option("--limit", help="How many.", min=1, max=1000)]
Cursor = Annotated[str, typer.Option("--cursor", help="Where the list before ended.", show_default=False)]


def status_words(given: Sequence[str] | None, known: type[StrEnum]) -> tuple[str, ...]:
    """The statuses that were typed, as the life cycle writes them.

    Raises:
        InvalidInputError: There is no such status.
    """
    return tuple(status_word(word, list(known)) for word in given or ())


@dataclass(frozen=True)
class Listed(Generic[ItemT]):
    """What is listed of a kind of resource that belongs to experiments.

    Attributes:
        statuses: That it can have.
        page: Reads a page.
        document: An item for JSON.
        row: An item as a line of the table.
        headings: Of the table.
    """

    statuses: type[StrEnum]
    page: "Callable[[Query], Page[ItemT]]"
    document: Callable[[ItemT], dict[str, Any]]
    row: Callable[[ItemT], Sequence[str]]
    headings: Sequence[str]


def add_list(app: typer.Typer, kind: str, load: Callable[[], Listed[ItemT]], *, made_by: str, more: str = "") -> None:
    """Give a group of commands its `list`.

    Args:
        app: The group.
        kind: Of what.
        load: Gives what is listed; what it imports takes longer than help may take.
        made_by: The command that makes one.
        more: What its help says further.
    """

    @app.command("list", help=f"List {kind}s, the newest first.{more}")
    def list_them(
        *,
        status: Statuses = None,
        name: Name = "",
        tag: Tags = None,
        experiment: Experiment = "",
        sort: Sort = "-created",
        limit: Limit = 50,
        cursor: Cursor = "",
        as_json: AsJson = False,
    ) -> None:
        from blocks.registry.records import Query

        listed = load()
        statuses, tags = status_words(status, listed.statuses), tag_filter(tag or [])
        query = Query(
            status=statuses, name=name, tags=tags, experiment=experiment, sort=sort, limit=limit, cursor=cursor
        )
        write_page(
            listed.page(query),
            document=listed.document,
            row=listed.row,
            headings=listed.headings,
            empty=empty_text(kind, query, made_by),
            as_json=as_json,
        )


def empty_text(kind: str, query: "Query", made_by: str) -> str:
    """What is said of an empty page: that nothing is as asked for or, where all was asked for, how to make one."""
    if query.status or query.name or query.tags or query.experiment or query.cursor:
        return f"There is no such {kind}."
    return f"There are no {kind}s yet. Make one: makerflow {made_by}"


def write_page(
    page: "Page[ItemT]",
    *,
    document: Callable[[ItemT], dict[str, Any]],
    row: Callable[[ItemT], Sequence[str]],
    headings: Sequence[str],
    empty: str,
    as_json: bool,
) -> None:
    """Print a page of a list, and how to get the next one.

    Args:
        page: The page.
        document: An item for JSON.
        row: An item as a line of the table.
        headings: Of the table.
        empty: What is said when there is nothing.
        as_json: Print one document.
    """
    if as_json:
        write_document({"items": [document(item) for item in page.items], "cursor": page.cursor})
        return
    write_table(headings, [row(item) for item in page.items], empty=empty)
    if page.cursor:
        write(f"\nThere are more: --cursor {page.cursor}", error=True)
