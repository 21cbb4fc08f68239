"""`makerflow tuning plot`: a picture of a tuning, in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import AsJson, reserved_stdout, write, write_document

if TYPE_CHECKING:
    from blocks.registry.records import Tuning


def plot(
    tuning: Annotated[str, typer.Argument(metavar="TUNING", help="Name or id.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.svg", help="Where to draw it; else in MAKERFLOW_HOME.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a tuning: its trials, the best so far, and the parameters of the best trials.

    It is an SVG file, for a browser; the command prints its path.
    """
    from deployments.cli.access import open_registry

    row = open_registry().tunings.get(tuning)
    with reserved_stdout():
        path = write_plot(row, output)
    if as_json:
        write_document({"id": row.id, "name": row.name, "path": str(path)})
    else:
        write(str(path))


def write_plot(row: "Tuning", output: Path | None = None) -> Path:
    """Draw a tuning into a file, which takes the place of one that is there.

    Args:
        row: The tuning.
        output: The file; None for its place below the home.

    Raises:
        InvalidInputError: No trial has a value of the objective yet, or the file cannot be written.
    """
    from blocks.domain.errors import InvalidInputError
    from deployments.cli.access import open_registry, read_settings
    from tasks.tuning_plots import plot_file, tuning_plot

    picture = tuning_plot(row, open_registry().tunings.trials(row.id))
    if not picture:
        why = f"no trial of it has a value of {row.spec.objective.metric} yet"
        raise InvalidInputError(
            f"The plot of {row.name}", why, f"Look again later: makerflow tuning trials {row.name}."
        )
    path = (output or plot_file(read_settings().home, row)).absolute()
    try:
        if output is None:
            path.parent.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        remedy = "Name a file that can be written: --output FILE.svg."
        raise InvalidInputError(f"The plot {path}", f"it cannot be written: {error.strerror}", remedy) from error
    return path
