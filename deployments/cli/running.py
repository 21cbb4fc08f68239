"""Running a training's flow in this process: who shows it, who stops it, and what is printed at its end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from blocks.domain.errors import AlreadyExistsError, NotFoundError
from deployments.cli import documents
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

if TYPE_CHECKING:
    from blocks.domain.specs import TrainingSpec
    from blocks.domain.template_overrides import TemplatedTrainingSpec
    from blocks.registry.records import Training

Find = Callable[[], "Training | None"]


def start_training(
    spec: "TrainingSpec | TemplatedTrainingSpec", *, detach: bool, as_json: bool, take_up: bool = True
) -> None:
    """Create a training; follow it to its end unless it is to be detached.

    Args:
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
        _detach(spec, take_up=take_up, as_json=as_json)
        return

    def run() -> None:
        from flows.training import create_training

        create_training(spec, take_up=take_up)

    registry = open_platform().registry

    def find() -> "Training | None":
        try:
            row = registry.trainings.get(spec.name)
        except NotFoundError:
            return None
        # Another's training of this name, also one with the same settings, is neither ours to show nor to stop.
        return row if registry.has_leased(row.id) else None

    follow_to_end(run, name=spec.name, find=find, as_json=as_json)


def follow_to_end(run: Callable[[], object], *, name: str, find: Find, as_json: bool) -> None:
    """Run a flow that follows a training, show how it goes, print how it went.

    Args:
        run: The flow.
        name: The training.
        find: Its row; None as long as there is none.
        as_json: Print one document at the end, and progress on stderr.

    Raises:
        typer.Exit: With the exit code that tells how it went.
        AlreadyExistsError: The name is another's.
        MakerflowError: There is no row that could tell.
    """
    from deployments.cli.interrupts import Interrupts
    from deployments.cli.observing import Observer
    from deployments.cli.progress import open_display

    error: Exception | None = None
    with ExitStack() as stack:
        stack.enter_context(_interrupted_says(f"Interrupted. How it stands: makerflow training list --name {name}"))
        stdout = stack.enter_context(reserved_stdout())
        display = stack.enter_context(open_display(sys.stderr if as_json else stdout, name, with_output=not as_json))

        def leave(row: "Training | None", message: str) -> None:
            display.close()
            print(message, file=sys.stderr, flush=True)
            if as_json:
                document = (
                    documents.training_summary(row) | {"message": message} if row else interrupted_document(message)
                )
                print(document_text(document), file=stdout, flush=True)

        interrupts = stack.enter_context(Interrupts(name, find, tell=display.note, leave=leave))
        stack.enter_context(Observer(find, display))
        try:
            run()
        except AlreadyExistsError:
            raise  # the training of this name is another's: nothing of it is shown
        except Exception as caught:  # told below, together with what the row says
            error = caught
        row = find()
        if row is None:
            raise error or NotFoundError("training", name)
        failure = describe(error) if error else None
    with _interrupted_says(f"Interrupted. How it ended: makerflow training show {name}"):
        _print_end(row, failure, as_json=as_json)
    raise typer.Exit(INTERRUPTED if interrupts.pressed else _exit_code(row, failure))


@contextmanager
def _interrupted_says(message: str) -> Iterator[None]:
    """Where Ctrl-C no longer means that nothing was started."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(message) from interrupt


def _exit_code(row: "Training", failure: Failure | None) -> int:
    if failure is not None:
        return failure.code
    return 0 if row.status.value == "COMPLETE" else FAILED


def _print_end(row: "Training", failure: Failure | None, *, as_json: bool) -> None:
    from deployments.cli.access import open_registry
    from deployments.cli.training_details import write_ending

    series = open_registry().metrics.names(row.id)
    if as_json:
        document = documents.training_document(row, series)
        if failure is not None:
            document["reason"] = document["reason"] or failure.message
            document["error"] = {"type": failure.type, "message": failure.message}
        write_document(document)
        return
    write_ending(row, series)
    if failure is not None and failure.message not in row.reason:
        write(f"Error: {clean_block(failure.message)}", error=True)


def _detach(spec: "TrainingSpec | TemplatedTrainingSpec", *, take_up: bool, as_json: bool) -> None:
    from deployments.cli.access import open_registry

    with reserved_stdout():
        from flows.training import create_training

    unsure = f"Interrupted. Whether it was started: makerflow training list --name {spec.name}"
    with _interrupted_says(unsure), reserved_stdout():
        row = open_registry().trainings.get(create_training(spec, wait=False, take_up=take_up).id)
    if as_json:
        write_document(documents.training_summary(row))
        return
    write(row.id)
    write(f"{row.name} goes on by itself: makerflow training show {row.name}", error=True)
