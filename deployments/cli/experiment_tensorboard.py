"""The way to an experiment's TensorBoard, for `makerflow experiment tensorboard`."""

import webbrowser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.connections.settings import Settings


def board_url(settings: "Settings", experiment_id: str) -> str:
    """Where an experiment's TensorBoard is.

    Raises:
        InvalidInputError: The platform does not run on this home.
    """
    from blocks.domain.errors import InvalidInputError
    from blocks.gateway.routes import board_prefix
    from deployments.up.instance import is_ready, running_instance
    from deployments.up.layout import Layout

    layout = Layout(settings.home)
    instance = running_instance(layout)
    events = settings.home / "tensorboard" / experiment_id
    if instance is None or not is_ready(layout):
        raise InvalidInputError(
            "The experiment's TensorBoard",
            f"the platform does not run on the home {settings.home}",
            f"Start it with `makerflow up --detach`, or look without it: `tensorboard --logdir {events}`.",
        )
    events.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The board's policy names its address, and browsers read no IPv6 address there.
    return f"{instance.url.replace('[::1]', 'localhost')}{board_prefix(experiment_id)}/"


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
