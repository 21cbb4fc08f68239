"""`makerflow up`: the workflow UI."""

from typing import Annotated

import typer

from deployments.cli.loading import single_command
from deployments.cli.output import write

app = single_command()


@app.command()
def up(
    *, port: Annotated[int, typer.Option(min=1, max=65_535, help="Where it listens, on this machine only.")] = 4200
) -> None:
    """Serve the workflow UI until Ctrl-C, with the runs that were made without it; trainings go on."""
    from deployments.up import up as serve

    serve(port, say=write)
