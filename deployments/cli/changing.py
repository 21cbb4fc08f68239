"""What the commands that change or stop something have in common."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Annotated

import typer

from blocks.domain.errors import (
    ClusterUnavailableError,
    IllegalTransitionError,
    InvalidInputError,
    MakerflowError,
    NothingToStopError,
    StopRecordedError,
)
from blocks.domain.lifecycle import TrainingStatus, TuningStatus
from deployments.cli import fields
from deployments.cli.loading import GroupedCommand
from deployments.cli.output import AsJson, reserved_stdout, write, write_document, write_fields
from deployments.cli.settings_options import Detach, Settings, SettingsKind, takes_settings
from deployments.cli.subjects import Row, RowT, Subject


def tell_stopping(row: Row, under_way: Collection[StrEnum]) -> None:
    """Say at once that something is being stopped: what does it takes seconds to import, and workers to end.

    Args:
        row: What.
        under_way: The statuses in which it can be.
    """
    if row.status in under_way:
        write(f"Stopping {row.name} ...", error=True)


STILL_SECONDS = 5.0
STILL = "Its workers have not ended yet, or its cluster does not answer. That it is to stop is recorded."


@contextmanager
def stopping(key: str, status: Callable[[], StrEnum]) -> Iterator[None]:
    """Let a refusal to stop something, or a long wait, say how it stands: it is over, or ends already, or ends later.

    Args:
        key: The name that was given.
        status: Its status now.

    Raises:
        NothingToStopError: It cannot be stopped any more.
        StopRecordedError: Its cluster does not answer now.
        ClusterUnavailableError: It did not before that was written down.
    """
    still = threading.Timer(STILL_SECONDS, _tell_still, (status,))
    still.daemon = True
    still.start()
    try:
        yield
    except IllegalTransitionError as error:
        raise NothingToStopError(error.kind, key, error.id, error.source) from error
    except ClusterUnavailableError as error:
        if _is_stopping(status()):
            raise StopRecordedError(key, error.reason) from error
        raise
    finally:
        still.cancel()


def _tell_still(status: Callable[[], StrEnum]) -> None:
    with suppress(MakerflowError):
        if _is_stopping(status()):
            write(STILL, error=True)


def _is_stopping(status: StrEnum) -> bool:
    return status in (TrainingStatus.STOP_IN_PROGRESS, TuningStatus.STOP_IN_PROGRESS)


def add_copy(app: typer.Typer, kind: str, load: Callable[[], Subject[RowT]], settings_kind: SettingsKind) -> None:
    """Give a group of commands its `copy`.

    Args:
        app: The group.
        kind: Of what.
        load: Gives the subject; what it imports takes longer than help may take.
        settings_kind: Which settings can be overridden.
    """

    def copy(
        key: Annotated[str, typer.Argument(metavar=kind.upper(), help="Name or id.")],
        settings: Settings,
        *,
        detach: Detach = False,
        as_json: AsJson = False,
    ) -> None:
        from deployments.cli.running import start_copy

        start_copy(load(), key, settings_kind.read(settings), detach=detach, as_json=as_json)

    told = (
        f"Start a {kind} with the settings of another.\n\nSettings that are given here take the place of the other's."
    )
    app.command("copy", cls=GroupedCommand, help=told)(takes_settings(copy, settings_kind))


def add_change(app: typer.Typer, kind: str, load: Callable[[], Subject[RowT]]) -> None:
    """Give a group of commands its `change`: a description, and tags.

    Args:
        app: The group.
        kind: Of what.
        load: Gives the subject; what it imports takes longer than help may take.
    """

    @app.command("change", help=f"Change the description or the tags of a {kind}.")
    def change(
        key: Annotated[str, typer.Argument(metavar=kind.upper(), help="Name or id.")],
        *,
        description: Annotated[str | None, typer.Option(help="The new description.", show_default=False)] = None,
        tag: Annotated[list[str] | None, typer.Option(help="Add or replace a tag; repeatable.", metavar="K=V")] = None,
        remove_tag: Annotated[list[str] | None, typer.Option(help="Remove a tag; repeatable.", metavar="K")] = None,
        as_json: AsJson = False,
    ) -> None:
        if description is None and not tag and not remove_tag:
            remedy = "Give --description, --tag or --remove-tag."
            raise InvalidInputError(f"{kind} change {key}", "nothing is given to change", remedy)
        subject = load()
        row = subject.get(key)
        tags = changed_tags(row.tags, tag or [], remove_tag or []) if tag or remove_tag else None
        with reserved_stdout():
            row = subject.change(row.id, description, tags)
        if as_json:
            write_document(subject.summary(row))
        else:
            write_fields({"name": row.name, "description": row.description, "tags": fields.pair_text(row.tags)})


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
