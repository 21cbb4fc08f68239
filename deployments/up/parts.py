"""What `makerflow up` runs: pure data."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.connections.settings import Settings, prefect_environment
from deployments.up.layout import Layout

SUPERVISOR = "supervisor"
PREFECT = "prefect"
ACCESS = "access"
FRONT_DOOR = "front-door"
RUNNER = "runner"
SWEEPER = "sweeper"

_SOURCE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Part:
    """One supervised program.

    Attributes:
        name: Also of its log.
        command: What runs.
        rank: Parts start in this order, and end in the opposite one.
        settled_seconds: One that lives so long has started; one that ends before is started again after a pause.
        stop_seconds: From SIGTERM to SIGKILL.
    """

    name: str
    command: Sequence[str]
    rank: int
    settled_seconds: int = 2
    stop_seconds: int = 10


def make_parts(layout: Layout, front_door_command: Sequence[str]) -> tuple[Part, ...]:
    """All parts, in the order in which they are started.

    Args:
        layout: Where they work.
        front_door_command: What runs the front door.
    """
    from blocks.connections.server import APPLICATION  # here alone: who only looks needs no HTTP client
    from blocks.gateway.files import access_command

    prefect = ["uvicorn", "--factory", APPLICATION, "--uds", str(layout.prefect_socket)]
    return (
        Part(SWEEPER, _python("deployments.up.sweeper", str(layout.home)), rank=0, stop_seconds=30),
        # What a page keeps open has no end of its own.
        Part(PREFECT, _python(*prefect, "--timeout-graceful-shutdown", "2"), rank=1, settled_seconds=4),
        Part(ACCESS, access_command(layout.directory), rank=2),
        Part(FRONT_DOOR, tuple(front_door_command), rank=3),
        Part(RUNNER, _python("deployments.runner"), rank=4, settled_seconds=4),
    )


def parts_environment(settings: Settings, api: str, account: str) -> dict[str, str]:
    """What all parts have in their environment.

    Args:
        settings: Of the instance.
        api: The address of the API, as clients reach it.
        account: `user:password` by which our own clients enter.
    """
    return prefect_environment(settings) | {
        "MAKERFLOW_HOME": str(settings.home),
        "MAKERFLOW_PREFECT_API_URL": api,
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": account,
        "PREFECT_UI_API_URL": "/api",  # relative: the UI works by whatever name its page was opened
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(_SOURCE),
        "PYTHONUNBUFFERED": "1",
    }


NOT_FOR_PARTS = ("MAKERFLOW_ACCESS_STRING", "PREFECT_SERVER_API_AUTH_STRING")
"""The front door asks for the access string, in the name of all, and reads it from a file of its own."""


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", module, *arguments)  # -P: not a module of the user's own folder
