"""`makerflow upkeep`: mend what dead processes left."""

from typing import Annotated

import typer

from deployments.cli.fields import count_text
from deployments.cli.loading import single_command
from deployments.cli.output import FAILED, AsJson, reserved_stdout, write, write_document, write_table

app = single_command()


@app.command()
def upkeep(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be mended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare registry, cluster, disk and workflow server, and mend what differs.

    Trainings that nobody follows are followed again; runs and flow runs without an owner are ended; files past their
    keep time are removed. `makerflow up` does it every five minutes. The exit code is 1 when something failed.
    """
    with reserved_stdout():
        from flows.upkeep import upkeep as carry_out

        report = carry_out(dry_run=dry_run)
    if as_json:
        status = "BUSY" if report.busy else "FAILED" if report.failed else "OK"
        write_document({"status": status} | report.model_dump(mode="json") | {"counts": report.counts})
    elif report.busy:
        write("Another upkeep is under way.")
    else:
        rows = [finding.row for finding in report.findings]
        write_table(("WHAT", "WHICH", "FOUND", "DONE"), rows, empty="Nothing was to be mended.")
        if rows:
            write(f"\n{count_text(len(rows), 'finding')}{', nothing was changed' if dry_run else ''}.")
    if report.failed:
        raise typer.Exit(FAILED)
