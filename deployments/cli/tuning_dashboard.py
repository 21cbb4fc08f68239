"""`makerflow tuning dashboard`: every trial of a tuning in optuna-dashboard, as they run."""

from typing import Annotated

import typer

from deployments.cli.output import AsJson


def dashboard(
    tuning: Annotated[str, typer.Argument(metavar="TUNING", help="Name or id.")],
    *,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show where the tuning's optuna-dashboard is, and open it: all of its trials, as they run.

    It shows and changes nothing. The browser enters without being asked. Where none is opened, and with --json, the
    address that is shown does so: once, and within a minute. On a terminal that one is always shown.
    """
    from blocks.gateway.routes import dashboard_prefix
    from deployments.cli.access import open_registry, read_settings
    from deployments.cli.boards import board_url, show_board

    row, settings = open_registry().tunings.get(tuning), read_settings()
    otherwise = f"`makerflow tuning trials {row.name}`"
    url = board_url(settings, dashboard_prefix(row.id), "The tuning's dashboard", otherwise)
    show_board(settings, url, {"id": row.id, "name": row.name}, open_it=open_it, as_json=as_json)
