"""Envoy's files: replaced by rename, which Envoy watches for, so that a route is there or not and nothing between."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from blocks.gateway.binary import envoy_path
from blocks.gateway.envoy import (
    CLUSTERS,
    ROUTES,
    bootstrap,
    cluster_resources,
    from_text,
    route_resources,
    to_text,
    with_former,
)
from blocks.gateway.front_door import FrontDoor, write_private
from blocks.gateway.routes import Route


def write_front_door(front_door: FrontDoor, routes: Sequence[Route] = ()) -> None:
    """Write the settings, and Envoy's files for the platform's routes and `routes`, for an Envoy that is to start.

    What an earlier one was led by leads nowhere, and after a power cut it may be damaged.
    """
    front_door.save()
    envoy = front_door.directory / "envoy"
    envoy.mkdir(exist_ok=True, mode=0o700)
    for name in (CLUSTERS, ROUTES):
        (envoy / name).unlink(missing_ok=True)
    write_routes(front_door, routes)
    write_private(envoy / "bootstrap.yaml", to_text(bootstrap(front_door)))


def write_routes(front_door: FrontDoor, routes: Iterable[Route]) -> None:
    """Let a running Envoy have the platform's routes and `routes`: what answers first, then the ways to it.

    What answered on the former routes stays until the next change, for Envoy takes up one file after the other. Both
    files are of no use after a crash of the machine; and to wait for the disk would hold up whoever comes to the door.
    """
    envoy = front_door.directory / "envoy"
    every = [*front_door.routes, *routes]
    clusters = with_former(cluster_resources(every), _read(envoy / CLUSTERS), _read(envoy / ROUTES))
    write_private(envoy / CLUSTERS, to_text(clusters), durable=False)
    write_private(envoy / ROUTES, to_text(route_resources(every, front_door.hosts)), durable=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        return from_text(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"resources": []}


def front_door_command(directory: Path) -> list[str]:
    """The command that runs Envoy over the files below `directory`; it ends on SIGTERM.

    Raises:
        InvalidInputError: This environment has no Envoy.
    """
    return [
        str(envoy_path()),
        "--config-path",
        str(directory / "envoy" / "bootstrap.yaml"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]


def access_command(directory: Path) -> list[str]:
    """The command that runs the access service of the front door whose directory this is; it ends on SIGTERM."""
    return [sys.executable, "-P", "-m", "blocks.gateway", str(directory)]
