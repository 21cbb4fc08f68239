"""What the commands that delete something have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from deployments.cli.output import confirm, reserved_stdout, write, write_document


def delete_when_confirmed(
    question: str, delete: Callable[[], None], *, name: str, document: Mapping[str, Any], yes: bool, as_json: bool
) -> None:
    """Ask, delete, and say so.

    Args:
        question: Put to the user unless `yes`.
        delete: Deletes it; whatever it imports or prints is kept off stdout.
        name: What it was called.
        document: What it was, for JSON.
        yes: Do not ask.
        as_json: Print one document.

    Raises:
        InvalidInputError: There is nobody to ask, and `yes` was not given.
        typer.Exit: The answer was no.
    """
    confirm(question, yes=yes)
    with reserved_stdout():
        delete()
    if as_json:
        write_document({**document, "deleted": True})
    else:
        write(f"Deleted {name}.")
