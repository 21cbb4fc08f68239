"""`makerflow connection ...`: endpoints of object stores, and the account that is used on each."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli import documents
from deployments.cli.deleting import delete_when_confirmed
from deployments.cli.loading import command_group
from deployments.cli.output import (
    AsJson,
    Yes,
    reserved_stdout,
    write,
    write_document,
    write_fields,
    write_table,
)

app = command_group("Endpoints of object stores and the accounts used on them.")

Name = Annotated[str, typer.Argument(metavar="CONNECTION", help="Its name (`makerflow connection list`).")]


@app.command("set")
def set_(
    endpoint: Annotated[str, typer.Argument(help="host, host:port or URL; https unless the URL says http.")],
    *,
    access_key_id: Annotated[
        str,
        typer.Option(
            help="The account's access key id; asked for when not given.",
            envvar=["MAKERFLOW_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"],
            show_default=False,
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(help="What it is called; 's3' serves all s3:// paths. Made from the endpoint when not given.")
    ] = "",
    region: Annotated[str, typer.Option(help="Where the store asks for one.", show_default=False)] = "",
    ca_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of a private certificate authority.", show_default=False)
    ] = None,
    path_style: Annotated[
        bool, typer.Option(help="https://endpoint/bucket/key, not https://bucket.endpoint/key.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Make or replace the connection to an endpoint.

    The secret is asked for without being shown, or read from MAKERFLOW_SECRET_ACCESS_KEY, or from the first line of
    stdin. It is never an argument: arguments can be read by everybody on the machine.
    """
    from blocks.connections.settings import ENVIRONMENT

    account = access_key_id or _asked("Access key id", "--access-key-id", hidden=False)
    # AWS's variables are one account's: they are no secret of another.
    prefixes = ("MAKERFLOW_", "AWS_") if account == ENVIRONMENT.get("AWS_ACCESS_KEY_ID") else ("MAKERFLOW_",)
    secret = _variable(prefixes, "SECRET_ACCESS_KEY") or _asked(
        "Secret access key", "MAKERFLOW_SECRET_ACCESS_KEY", hidden=True
    )
    with reserved_stdout():
        from blocks.connections.s3 import set_connection

        row = set_connection(
            endpoint,
            name=name,
            access_key_id=account,
            secret_access_key=secret,
            session_token=_variable(prefixes, "SESSION_TOKEN"),
            region=region,
            ca_certificate_file=str(ca_certificate or ""),
            path_style=path_style,
        )
    if as_json:
        write_document(row.model_dump(mode="json"))
    else:
        write(f"The connection {row.name} opens {row.endpoint}. Try it: makerflow connection test {row.name}")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the connections, without their secrets."""
    from deployments.cli.access import open_registry

    found = open_registry().connections.list()
    if as_json:
        write_document({"items": [row.model_dump(mode="json") for row in found]})
        return
    rows = [[row.name, row.endpoint, documents.time_text(row.created)] for row in found]
    empty = "There are none; s3:// paths use the usual AWS environment and files. Make one: makerflow connection set"
    write_table(("NAME", "ENDPOINT", "CREATED"), rows, empty=empty)


@app.command("test")
def try_(
    name_or_path: Annotated[str, typer.Argument(metavar="CONNECTION|PATH", help="A connection, or a path to open.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Try a connection and show the account whose rights are used: whom to grant what."""
    with reserved_stdout():
        from blocks.connections.s3 import test_connection

        facts = test_connection(name_or_path)
    if as_json:
        write_document({"status": "OK", **facts})
    else:
        write_fields(facts | {"status": "OK"})


@app.command("delete")
def delete(connection: Name, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a connection and its secrets."""

    def carry_out() -> None:
        from blocks.connections.s3 import delete_connection

        delete_connection(connection)

    question, document = f"Delete the connection {connection}?", {"name": connection}
    delete_when_confirmed(question, carry_out, name=connection, document=document, yes=yes, as_json=as_json)


def _asked(what: str, instead: str, *, hidden: bool) -> str:
    """Ask a person, or read one line when there is none.

    Raises:
        InvalidInputError: Nothing was answered.
    """
    from blocks.domain.errors import InvalidInputError

    person = sys.stdin.isatty()
    found = str(typer.prompt(what, hide_input=hidden, err=True)) if person else sys.stdin.readline()
    if not found.strip():
        raise InvalidInputError(what, "it was not given", f"Set {instead}, or pass it on stdin.")
    return found.strip()


def _variable(prefixes: tuple[str, ...], name: str) -> str:
    from blocks.connections.settings import ENVIRONMENT

    return next((value for prefix in prefixes if (value := ENVIRONMENT.get(prefix + name))), "")
