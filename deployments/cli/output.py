"""What is printed, and how: one JSON document, tables, lines. Everything that users wrote is printed as inert text."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any, TextIO

import typer

FAILED = 1
INVALID = 2
INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_GAP = 2
"""Blanks between two columns."""

_LEAST_REASON = 20
"""Characters of a reason that tell something."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC and the like: titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"  # all other control characters but the tab
    r"|[\u202a-\u202e\u2066-\u2069]"  # what reorders the text around it
)


def clean(text: str) -> str:
    """One line of `text` without anything that a terminal would act upon; tabs stay."""
    return _ESCAPES.sub("", text)


def clean_block(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def prepare_output() -> None:
    """What a terminal's encoding cannot show is printed as an escape; what goes to a closed stream goes nowhere."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:  # closed, as by `>&-`: the next file that is opened would take its place
            _lead_nowhere(descriptor)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what is left.

    Raises:
        OSError: It cannot be written; nothing more is tried.
    """
    _is_written(sys.stdout.flush)


def close_output() -> None:
    """The same, when there is nobody left to tell that it cannot be written."""
    with suppress(OSError):
        flush_output()


def write(text: str, *, end: str = "\n", error: bool = False) -> None:
    """Print a text of ours, as it is; a reader that has gone (`| head`) is no error.

    Raises:
        OSError: stdout cannot be written, e.g. on a full disk.
    """
    _is_written(partial(print, text, end=end, file=sys.stderr if error else sys.stdout), error=error)


def write_document(document: Mapping[str, Any]) -> None:
    """Print the one document of a command that was asked for JSON."""
    write(document_text(document))


def interrupted_document(reason: str) -> dict[str, str]:
    """The document of a command that Ctrl-C ended before it had anything to show."""
    return {"status": "INTERRUPTED", "reason": reason}


def document_text(document: Mapping[str, Any]) -> str:
    """A document as it is printed; what is not ASCII is escaped, so that no terminal and no encoding minds it."""
    return json.dumps(document, indent=2, allow_nan=False)


def write_listing(
    head: Mapping[str, Any], name: str, items: Iterable[Any], tail: Callable[[], Mapping[str, Any]] = dict
) -> None:
    """Print one document with a list of any length, item by item, before what `tail` then gives."""
    write(document_text(head).removesuffix("\n}") + f",\n  {json.dumps(name)}: [")
    _write_members(items, "    ")
    rest = tail()
    write("\n  ]" + (f",\n{document_text(rest).removeprefix('{').lstrip(chr(10))}" if rest else "\n}"))


def write_items(items: Iterable[Mapping[str, Any]]) -> None:
    """Print a list as one JSON document, an item a line."""
    found = list(items)
    if not found:
        write("[]")
        return
    write("[")
    _write_members(found, "  ")
    write("\n]")


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows; fitted to a terminal's width, else in full, so that they can be searched.

    On a terminal a last column of reasons is cut to the room that the others leave.
    """
    if not rows:
        write(empty)
        return
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    cells = [[clean(cell) for cell in row] for row in rows]
    if headings[-1] == "REASON" and sys.stdout.isatty():
        _cut_last([list(headings), *cells], shutil.get_terminal_size().columns)
    for row in cells:
        table.add_row(*row)
    write(_rendered(table))


def write_fields(fields: Mapping[str, str]) -> None:
    """Print name and value a line; empty values are left out."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if value:
            lines = clean_block(value).splitlines() or [""]
            write(f"{name:<{width}}  " + ("\n" + " " * (width + 2)).join(lines))


def write_lines(lines: Iterable[str], *, live: bool = False) -> None:
    """Print lines that users' code printed, as long as somebody reads them.

    Args:
        lines: Without their ends.
        live: Show each one at once, not when there are many.

    Raises:
        OSError: stdout cannot be written.
    """
    for line in lines:
        if not _is_written(partial(print, clean(line), flush=live)):
            return


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Meanwhile whatever prints to stdout, here or in a library below Python, lands on stderr.

    Yields the real stdout.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(os.dup(saved), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    try:
        yield stream
    finally:
        with suppress(OSError):  # its reader has gone, or its disk is full
            stream.close()
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed.

    Raises:
        InvalidInputError: There is nobody to ask, and `--yes` was not given.
        typer.Exit: The answer was no.
    """
    from blocks.domain.errors import InvalidInputError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError(question.removesuffix("?"), "nobody can be asked without a terminal", "Give --yes.")
    if not typer.confirm(clean(question), err=True):
        write("Nothing was changed.", error=True)
        raise typer.Exit(FAILED)


def _write_members(items: Iterable[object], indent: str) -> None:
    between = ""
    for item in items:
        write(f"{between}{indent}{json.dumps(item, allow_nan=False)}", end="")
        between = ",\n"


def _cut_last(rows: Sequence[list[str]], width: int) -> None:
    others = sum(max(map(len, column)) + _GAP for column in list(zip(*rows, strict=True))[:-1])
    room = max(width - others, _LEAST_REASON)
    for row in rows:
        row[-1] = row[-1] if len(row[-1]) <= room else row[-1][: room - 1] + "…"


def _rendered(table: Any) -> str:
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if terminal else 1000,
        no_color=not terminal,
    )
    with console.capture() as capture:
        console.print(table, no_wrap=not terminal, crop=False, soft_wrap=not terminal)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _is_written(put: Callable[[], None], *, error: bool = False) -> bool:
    """Whether stdout (or stderr) took it; one that cannot be written leads nowhere from then on.

    Raises:
        OSError: It is stdout, and for another reason than that its reader has gone.
    """
    try:
        put()
    except OSError as refusal:
        _lead_nowhere(2 if error else 1)
        if not error and not isinstance(refusal, BrokenPipeError):
            raise OSError(f"stdout cannot be written: {refusal.strerror}") from refusal
        return False
    return True


def _lead_nowhere(descriptor: int) -> None:
    """From now on a standard stream leads nowhere, also what its buffer still holds."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    os.set_inheritable(descriptor, True)
