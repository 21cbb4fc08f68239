"""The way to boards, for `makerflow experiment tensorboard` and `makerflow tuning dashboard`."""

import sys
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployments.cli.output import write, write_document

if TYPE_CHECKING:
    from blocks.connections.settings import Settings


def board_url(settings: "Settings", path: str, what: str, otherwise: str) -> str:
    """Where a board is.

    Args:
        settings: Of the home on which the platform runs.
        path: Of the board, below the front door.
        what: What people call it.
        otherwise: How to look without the platform.

    Raises:
        InvalidInputError: The platform does not run on this home.
    """
    from blocks.domain.errors import InvalidInputError
    from deployments.up.instance import is_ready, running_instance
    from deployments.up.layout import Layout

    layout = Layout(settings.home)
    instance = running_instance(layout)
    if instance is None or not is_ready(layout):
        raise InvalidInputError(
            what,
            f"the platform does not run on the home {settings.home}",
            f"Start it with `makerflow up --detach`, or look without it: {otherwise}.",
        )
    # The board's policy names its address, and browsers read no IPv6 address there.
    return f"{instance.url.replace('[::1]', 'localhost')}{path}/"


def show_board(settings: "Settings", url: str, named: Mapping[str, str], *, open_it: bool, as_json: bool) -> None:
    """Open a board in the browser, or say where it is in an address that opens it.

    On a terminal that address is told in both cases: a browser that was installed as a snap reads no hidden directory,
    so not the file that leads there.

    Args:
        settings: Of the home.
        url: Where the board is.
        named: What it shows, for `--json`.
        open_it: Whether to open it.
        as_json: Whether to say it as JSON, and open nothing.
    """
    opening = with_ticket(settings, url)
    if as_json:
        write_document({**named, "url": opening})
        return
    if open_it and open_in_browser(settings, opening):
        write(url)
        if sys.stderr.isatty():  # not into a log, where others could be faster
            write(f"If the page stays empty, open this within a minute: {opening}", error=True)
        return
    write(opening)
    write("Open it within a minute, and once; later the address asks who you are.", error=True)


def with_ticket(settings: "Settings", url: str) -> str:
    """An address below the front door, as it opens once and soon without asking who is there."""
    from blocks.gateway.access import Doorkeeper
    from blocks.gateway.front_door import FrontDoor
    from deployments.up.layout import Layout

    front_door = FrontDoor.load(Layout(settings.home).directory)
    return f"{url}?ticket={Doorkeeper(front_door.token, front_door.access_string).new_ticket()}"


def open_in_browser(settings: "Settings", url: str) -> bool:
    """Open an address that holds a ticket; False when this machine shows no browser.

    The browser is given a file of the owner's that leads there: everybody can read its command line, and one of them
    could be faster.
    """
    from blocks.gateway.front_door import write_private
    from blocks.gateway.pages import onward_page

    page = write_private(settings.home / "up" / "open.html", onward_page(url))
    return webbrowser.open(page.as_uri())
