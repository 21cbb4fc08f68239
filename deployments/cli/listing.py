"""What the commands that list something have in common: their filters, and how a page is printed."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deployments.cli.fields import status_word
from deployments.cli.output import write, write_document, write_table

if TYPE_CHECKING:
    from blocks.registry.records import Page

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
