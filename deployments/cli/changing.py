"""What the commands that change or stop something have in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from blocks.domain.errors import IllegalTransitionError, InvalidInputError
from deployments.cli import fields
from deployments.cli.output import write_document, write_fields

if TYPE_CHECKING:
    from blocks.registry.records import TrainingSummary, TuningSummary

RowT = TypeVar("RowT", "TrainingSummary", "TuningSummary")

NewDescription = Annotated[str | None, typer.Option("--description", help="The new description.", show_default=False)]
AddedTags = Annotated[list[str] | None, typer.Option("--tag", help="Add or replace a tag; repeatable.", metavar="K=V")]
RemovedTags = Annotated[list[str] | None, typer.Option("--remove-tag", help="Remove a tag; repeatable.", metavar="K")]


@contextmanager
def named_as(key: str) -> Iterator[None]:
    """Let a refusal of a move tell the name that was given beside the id.

    Raises:
        IllegalTransitionError: The same, with the name.
    """
    try:
        yield
    except IllegalTransitionError as error:
        named = error.id if key == error.id else f"{key} ({error.id})"
        raise IllegalTransitionError(error.kind, named, error.source, error.target, error.allowed) from error


def check_changes(command: str, *given: object) -> None:
    """Refuse a command that is given nothing to change.

    Raises:
        InvalidInputError: It says what can be given.
    """
    if all(value is None or value == [] for value in given):
        remedy = "Give --description, --tag or --remove-tag."
        raise InvalidInputError(command, "nothing is given to change", remedy)


def new_tags(
    tags: Mapping[str, str], added: Sequence[str] | None, removed: Sequence[str] | None
) -> dict[str, str] | None:
    """All tags as they are to be; None when none changes.

    Raises:
        InvalidInputError: There is no such tag to remove, or a text has not the form.
    """
    return changed_tags(tags, added or [], removed or []) if added or removed else None


def changed_tags(tags: Mapping[str, str], added: Sequence[str], removed: Sequence[str]) -> dict[str, str]:
    """The tags without those removed, with the `K=V` texts added.

    Raises:
        InvalidInputError: There is no such tag to remove, or a text has not the form.
    """
    for name in removed:
        if name not in tags:
            known = f"Its tags: {', '.join(tags) or 'none'}."
            raise InvalidInputError(f"--remove-tag {name}", "there is no such tag", known)
    kept = {name: value for name, value in tags.items() if name not in removed}
    return kept | fields.mapping("--tag", added)


def write_changed(row: RowT, summary: Callable[[RowT], dict[str, Any]], *, as_json: bool) -> None:
    """Print what a change has made of a row."""
    if as_json:
        write_document(summary(row))
    else:
        write_fields({"name": row.name, "description": row.description, "tags": fields.pair_text(row.tags)})
