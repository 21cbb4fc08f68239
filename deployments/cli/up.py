"""`makerflow up`: the platform on this machine."""

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.fields import count_text
from deployments.cli.loading import single_command
from deployments.cli.output import AsJson, clean_block, write, write_document, write_fields
from deployments.cli.status import addresses, part_documents, write_parts

if TYPE_CHECKING:
    from deployments.up.guard import Arrival

app = single_command()

_OPEN = """\
WARNING: every account of this machine can use the platform, and through it run programs as you.
To ask everybody for a password, end it, and start it again after
  export MAKERFLOW_ACCESS_STRING="me:$(python3 -c 'import secrets; print(secrets.token_urlsafe())')"
(echo "$MAKERFLOW_ACCESS_STRING" shows it; commands on this home do not need it.)
"""
_PLAIN = """\
WARNING: other machines reach this address in plain HTTP: who is on the way reads the access string and all else.
Let them come through a proxy that speaks TLS, whose name MAKERFLOW_HOSTS has, and keep this port from them.
"""


@app.command()
def up(
    *,
    host: Annotated[
        str, typer.Option(help="Where it listens; other than this machine's own 127.0.0.1 asks for an access string.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port.")] = 4200,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it serves; `makerflow down` ends it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the platform: workflow UI and API, deployments and their schedules, TensorBoards, upkeep.

    All of it ends with Ctrl-C, but trainings, which go on. With --json the document is printed as soon as it serves.
    MAKERFLOW_ACCESS_STRING=user:password asks everybody who comes for it; without it every account of this machine can
    run programs as you. MAKERFLOW_HOSTS=ml.example.com has it answer to the name of a proxy that speaks TLS.
    """
    if not as_json:
        write("Starting the platform ...", error=True)
    if detach:
        _detached(host, port, as_json=as_json)
        return
    from deployments.up.guard import up as serve

    serve(host, port, ready=_write_document if as_json else _write_page, note=lambda text: write(text, error=True))
    if not as_json:
        write("The platform has ended.", error=True)


def _detached(host: str, port: int, *, as_json: bool) -> None:
    from deployments.up.detached import start_detached

    document, code = start_detached(host, port)
    if as_json:
        write_document(document)
    if code:
        write(f"Error: {clean_block(document['reason'])}", error=True)
        raise typer.Exit(code)
    if as_json:
        return
    for note in document["notes"]:
        write(note, error=True)
    _write(document)
    write("It runs in the background: `makerflow status` shows how it is, `makerflow down` ends it.")


def _document(arrival: "Arrival") -> dict[str, Any]:
    return {
        "status": "UP",
        **addresses(arrival.instance),
        "seconds": round(arrival.seconds, 1),
        "earlier_runs_added": arrival.earlier_runs_added,
        "notes": list(arrival.notes),
        "parts": part_documents(arrival.parts),
    }


def _write_document(arrival: "Arrival") -> None:
    write_document(_document(arrival))
    sys.stdout.flush()


def _write_page(arrival: "Arrival") -> None:
    _write(_document(arrival))
    write("Commands on this home use it while it runs. Ctrl-C ends it; trainings go on.")
    sys.stdout.flush()


def _write(document: dict[str, Any]) -> None:
    """The page of addresses."""
    write_fields(
        {
            "Workflow UI": document["ui"],
            "API": document["api"],
            "TensorBoards": f"{document['ui']}/tensorboard/EXPERIMENT (makerflow experiment tensorboard NAME opens it)",
            "Dashboards": f"{document['ui']}/dashboards/TUNING (makerflow tuning dashboard NAME opens it)",
            "Access": "by the access string" if document["asks_for_access"] else "EVERY account of this machine",
            "Earlier runs": count_text(document["earlier_runs_added"], "run") + " added",
            "Ready after": f"{document['seconds']} s",
        }
    )
    write("")
    write_parts(document["parts"])
    write("")
    if text := warning(document["host"], asks_for_access=document["asks_for_access"]):
        write(text)


def warning(host: str, *, asks_for_access: bool) -> str:
    """What whoever starts the platform is to know of who can reach it; empty for nothing."""
    if not asks_for_access:
        return _OPEN  # then it listens on loopback only
    return "" if ip_address(host).is_loopback else _PLAIN
