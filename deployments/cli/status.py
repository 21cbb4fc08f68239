"""`makerflow status`: whether the platform runs on this home, and how each part is."""

from typing import TYPE_CHECKING, Any

import typer

from deployments.cli.loading import single_command
from deployments.cli.output import FAILED, AsJson, clean, write, write_document, write_fields, write_table

if TYPE_CHECKING:
    from deployments.up.health import PartReport
    from deployments.up.instance import Instance

app = single_command()


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show the platform's parts: process, address, health, memory, restarts.

    The status is UP, DEGRADED (some part is not healthy), STARTING or DOWN; the exit code is 0 only for UP.
    """
    document = _document()
    if as_json:
        write_document(document)
    else:
        _write(document)
    if document["status"] != "UP":
        raise typer.Exit(FAILED)


def addresses(instance: "Instance") -> dict[str, Any]:
    """Where an instance is reached, for JSON."""
    return {
        "ui": instance.url,
        "api": instance.api,
        "host": instance.host,
        "port": instance.port,
        "asks_for_access": instance.asks_for_access,
        "started": instance.started.isoformat(),
    }


def part_documents(reports: "list[PartReport]") -> list[dict[str, Any]]:
    """The parts for JSON."""
    return [report.document() for report in reports]


def write_parts(parts: list[dict[str, Any]]) -> None:
    """The parts as a table."""
    rows = [
        [
            part["name"],
            str(part["pid"] or ""),
            part["health"],
            f"{part['memory_mib']:.0f} MiB",
            str(part["restarts"]),
            part["address"],
        ]
        for part in parts
    ]
    total = sum(part["memory_mib"] for part in parts)
    headings = ("PART", "PID", "HEALTH", "MEMORY", "RESTARTS", "ADDRESS")
    write_table(headings, [*rows, ["in all", "", "", f"{total:.0f} MiB", "", ""]], empty="")


def _document() -> dict[str, Any]:
    from blocks.connections.settings import read_settings
    from blocks.locks import is_locked
    from deployments.up.instance import is_ready, running_instance
    from deployments.up.layout import Layout

    layout = Layout(read_settings().home)
    instance = running_instance(layout)
    if instance is None:
        return {"status": "STARTING" if is_locked(layout.lock) else "DOWN", "parts": []}
    from deployments.up.health import look_at_parts

    reports = look_at_parts(layout, instance)
    healthy = all(report.is_healthy for report in reports)
    found = ("UP" if healthy else "DEGRADED") if is_ready(layout) else "STARTING"
    return {"status": found, **addresses(instance), "parts": part_documents(reports)}


def _write(document: dict[str, Any]) -> None:
    if not document["parts"]:
        starting = document["status"] == "STARTING"
        write("The platform is just starting." if starting else "The platform does not run here: makerflow up")
        return
    write_fields({"Status": document["status"], "Workflow UI": document["ui"], "API": document["api"]})
    write("")
    write_parts(document["parts"])
    for part in document["parts"]:
        if part["log_lines"]:
            write(f"\nThe last lines of {part['log']}:\n  " + "\n  ".join(map(clean, part["log_lines"])))
