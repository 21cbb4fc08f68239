"""`makerflow up`: the workflow UI."""

import sys
from typing import Annotated

import typer

from deployments.cli.fields import count_text
from deployments.cli.loading import single_command
from deployments.cli.output import AsJson, write, write_document

app = single_command()


@app.command()
def up(
    *,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where it listens, on this machine only.")] = 4200,
    as_json: AsJson = False,
) -> None:
    """Serve the workflow UI until Ctrl-C, with the runs that were made without it; trainings go on.

    With --json the document is printed as soon as it serves.
    """
    from deployments.up import up as serve

    if not as_json:
        write("Starting the workflow UI ...")
    serve(port, _write_document if as_json else _write)


def _write(api: str, added: int) -> None:
    write(f"Workflow UI   {_page(api)}  ({count_text(added, 'earlier run')} added)")
    write("Commands on this home use it while it runs. Ctrl-C ends it; trainings go on.")


def _write_document(api: str, added: int) -> None:
    write_document({"status": "UP", "url": _page(api), "api": api, "earlier_runs_added": added})
    sys.stdout.flush()


def _page(api: str) -> str:
    return api.removesuffix("/api")
