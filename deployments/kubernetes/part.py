"""`python -P -m deployments.kubernetes.part NAME`: becomes one part of the platform, in a container of its own.

The parts and what they find in their environment are those of `makerflow up`.
"""

import argparse
import os
from collections.abc import Mapping

from blocks.connections.settings import ENVIRONMENT, Settings, own_api, read_settings
from blocks.gateway.files import front_door_command
from blocks.gateway.front_door import front_door_token, own_account
from deployments.up.layout import Layout
from deployments.up.parts import ACCESS, FRONT_DOOR, NOT_FOR_PARTS, PREFECT, RUNNER, make_parts, parts_environment

NAMES = (PREFECT, ACCESS, FRONT_DOOR, RUNNER)
"""The cluster ends what is left of a container: there is no sweeper."""


def become(name: str) -> None:
    """Run a part in the place of this process."""
    settings = read_settings()
    layout = Layout(settings.home)
    parts = {part.name: part for part in make_parts(layout, front_door_command(layout.directory))}
    for file in (layout.arrival, layout.pulse) if name == RUNNER else ():
        file.unlink(missing_ok=True)  # what the container before this one has said
    command = list(parts[name].command)
    os.execve(command[0], command, part_environment(settings, layout, ENVIRONMENT))  # noqa: S606 - no shell is wanted


def part_environment(settings: Settings, layout: Layout, given: Mapping[str, str]) -> dict[str, str]:
    """What a part finds in its environment.

    Args:
        settings: Of this process.
        layout: Where `prepare` has put the token and the API's address.
        given: What the container has: what it says of Prefect counts, such as where its database is.
    """
    account = own_account(front_door_token(layout.directory))
    kept = {name: value for name, value in given.items() if name not in NOT_FOR_PARTS}
    of_prefect = {name: value for name, value in kept.items() if name.startswith("PREFECT_")}
    # Where Prefect is installed nothing can be written.
    pages = {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(layout.directory / "ui")}
    return kept | pages | parts_environment(settings, own_api(settings), account) | of_prefect


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -P -m deployments.kubernetes.part")
    parser.add_argument("name", choices=NAMES)
    become(parser.parse_args().name)
