"""Running a flow that follows something in this process: who shows it, who stops it, what is printed at its end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import typer

from blocks.domain.errors import AlreadyExistsError, NotFoundError
from deployments.cli.failures import Failure, describe
from deployments.cli.output import (
    FAILED,
    INTERRUPTED,
    clean_block,
    document_text,
    interrupted_document,
    reserved_stdout,
    write,
    write_document,
)
from deployments.cli.subjects import Row, RowT, Subject

if TYPE_CHECKING:
    from deployments.cli.interrupts import Interrupts


def start(subject: Subject[RowT], spec: Any, *, detach: bool, as_json: bool, take_up: bool = True) -> None:
    """Create what a spec asks for; follow it to its end unless it is to be detached.

    Args:
        subject: What kind it is.
        spec: Its settings.
        detach: Return at once.
        as_json: Print one document at the end.
        take_up: As `create_training` takes it.

    Raises:
        typer.Exit: With the exit code that tells how it went.
        MakerflowError: Nothing was created.
    """
    from blocks.connections.platform import open_platform

    if detach:
        _detach(subject, spec, take_up=take_up, as_json=as_json)
        return

    def run() -> None:
        subject.creator(take_up=take_up)(spec)

    registry = open_platform().registry

    def find() -> RowT | None:
        try:
            row = subject.get(spec.name)
        except NotFoundError:
            return None
        # Another's of this name, also one with the same settings, is neither ours to show nor to stop.
        return row if registry.has_leased(row.id) else None

    follow_to_end(subject, run, name=spec.name, find=find, as_json=as_json)


def start_copy(subject: Subject[RowT], key: str, given: Mapping[str, Any], *, detach: bool, as_json: bool) -> None:
    """Create one with the settings of another, as copying it in Python does; the display of it needs its settings.

    Args:
        subject: What kind it is.
        key: The other.
        given: What takes the place of its settings; without a name it gets a free one.
        detach: Return at once.
        as_json: Print one document at the end.

    Raises:
        typer.Exit: With the exit code that tells how it went.
        MakerflowError: Nothing was created.
    """
    from blocks.registry.names import under_free_name

    settings = subject.current_spec(key)

    def copy(name: str, *, take_up: bool = False) -> None:
        spec = settings.changed(**{**given, "name": name})
        start(subject, spec, detach=detach, as_json=as_json, take_up=take_up)

    if "name" in given:
        copy(given["name"], take_up=True)
    else:
        under_free_name(partial(subject.free_name, subject.get(key).name), copy)


def follow_to_end(
    subject: Subject[RowT],
    run: Callable[[], object],
    *,
    name: str,
    find: Callable[[], RowT | None],
    as_json: bool,
) -> None:
    """Run a flow that follows something, show how it goes, print how it went.

    Args:
        subject: What kind it is.
        run: The flow.
        name: Its name.
        find: Its row; None as long as there is none.
        as_json: Print one document at the end, and progress on stderr.

    Raises:
        typer.Exit: With the exit code that tells how it went.
        AlreadyExistsError: The name is another's.
        MakerflowError: There is no row that could tell.
    """
    error: Exception | None = None
    with ExitStack() as stack:
        unsure = f"Interrupted. How it stands: makerflow {subject.kind} list --name {name}"
        stack.enter_context(_interrupted_says(unsure))
        stdout = stack.enter_context(reserved_stdout())

        def left(row: RowT | None, message: str) -> None:
            if as_json:
                document = subject.summary(row) | {"message": message} if row else interrupted_document(message)
                print(document_text(document), file=stdout, flush=True)

        stream = sys.stderr if as_json else stdout
        shown = following(subject, find, name=name, stream=stream, in_full=not as_json, left=left)
        interrupts = stack.enter_context(shown)
        try:
            run()
        except AlreadyExistsError:
            raise  # what has this name is another's: nothing of it is shown
        except Exception as caught:  # told below, together with what the row says
            error = caught
        row = find()
        if row is None:
            raise error or NotFoundError(subject.kind, name)
        failure = describe(error) if error else None
    with _interrupted_says(f"Interrupted. How it ended: makerflow {subject.kind} show {name}"):
        _print_end(subject, row, failure, as_json=as_json)
    raise typer.Exit(INTERRUPTED if interrupts.pressed else _exit_code(row, failure))


@contextmanager
def following(
    subject: Subject[RowT],
    find: Callable[[], RowT | None],
    *,
    name: str,
    stream: TextIO,
    in_full: bool = True,
    left: Callable[[RowT | None, str], None] = lambda _row, _message: None,
) -> Iterator["Interrupts[RowT]"]:
    """Show how something goes while the block runs its flow, and answer Ctrl-C.

    Args:
        subject: What kind it is.
        find: Its row; None as long as there is none.
        name: Its name.
        stream: Where it is shown.
        in_full: Whether plain lines also tell what a document at the end does not.
        left: Called before Ctrl-C ends the process, with the row and what was told.
    """
    from deployments.cli.interrupts import Interrupts

    with subject.shown(find, stream, name, in_full=in_full) as (display, observer):

        def leave(row: RowT | None, message: str) -> None:
            display.close()
            print(message, file=sys.stderr, flush=True)
            left(row, message)

        with Interrupts(subject, name, find, tell=display.note, leave=leave) as interrupts, observer:
            yield interrupts


@contextmanager
def _interrupted_says(message: str) -> Iterator[None]:
    """Where Ctrl-C no longer means that nothing was started."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(message) from interrupt


def _exit_code(row: Row, failure: Failure | None) -> int:
    if failure is not None:
        return failure.code
    return 0 if row.status.value == "COMPLETE" else FAILED


def _print_end(subject: Subject[RowT], row: RowT, failure: Failure | None, *, as_json: bool) -> None:
    if as_json:
        document = subject.document(row)
        if failure is not None:
            document["reason"] = document["reason"] or failure.message
            document["error"] = {"type": failure.type, "message": failure.message}
        write_document(document)
        return
    subject.write_ending(row)
    if failure is not None and failure.message not in row.reason:
        write(f"Error: {clean_block(failure.message)}", error=True)


def _detach(subject: Subject[RowT], spec: Any, *, take_up: bool, as_json: bool) -> None:
    with reserved_stdout():
        create = subject.creator(take_up=take_up)
    leave_to_others(subject, lambda: create(spec, wait=False).id, name=spec.name, as_json=as_json)


def leave_to_others(subject: Subject[RowT], begin: Callable[[], str], *, name: str, as_json: bool) -> None:
    """Begin what others follow to its end, and print what it is.

    Args:
        subject: What kind it is.
        begin: What begins it; its id.
        name: Its name.
        as_json: Print a document.

    Raises:
        MakerflowError: It was not begun.
    """
    unsure = f"Interrupted. Whether it was started: makerflow {subject.kind} list --name {name}"
    with _interrupted_says(unsure), reserved_stdout():
        row = subject.get(begin())
    if as_json:
        write_document(subject.summary(row))
        return
    write(row.id)
    write(f"{row.name} goes on by itself: makerflow {subject.kind} show {row.name}", error=True)
