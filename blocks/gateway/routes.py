"""What the front door leads to: pure data, whatever carries it out."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SEGMENT = r"[A-Za-z0-9._~-]+"

PREFECT_SOCKET = "prefect.sock"
ACCESS_SOCKET = "access.sock"
ADMIN_SOCKET = "admin.sock"
"""Where Prefect's server, the access service and Envoy's administration answer: below the front door's directory."""

OWN_PREFIX = "/front-door"
"""What the access service answers itself: the page that asks who is there."""

BOARDS_PREFIX = "/tensorboard"
"""Below it, one TensorBoard an experiment."""

DASHBOARDS_PREFIX = "/dashboards"
"""Below it, one dashboard a tuning."""


class Access(StrEnum):
    """What a request must bring. Each level refuses what comes from a page of another site."""

    OPEN = "open"
    ACCOUNT = "account"  # the access string or the token, when an access string is required; else nothing
    TOKEN = "token"  # noqa: S105 - the name of a level: the access string or the token, always


class Route(BaseModel):
    """A part of the front door's address space and what answers there.

    Attributes:
        name: Unique among routes; statistics carry it.
        prefix: Path and all below it; without a slash at the end, or `/` alone.
        socket: The Unix socket of what answers; or
        port: its port on loopback.
        access: Who may enter.
        rewrite: What takes the prefix's place on the way to what answers; None leaves it.
        websocket: Whether connections may be upgraded.
        timeout_seconds: From the request's end to the answer's end; 0 for none, which streams need.
        page: Whether people see it in a browser: its answers may then load nothing from elsewhere.
        confined: Whether its pages show what users' code made. A script that is hidden in it has the visitor's cookie,
            so these pages may load from, talk to and open what is below the prefix alone.
        busy_retries: So often what is answered by 503, or cannot be reached, is asked again, with pauses of up to a
            second: for what answers so only after it has undone all that the request did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")
    prefix: str = Field(pattern=rf"^(/|(/{_SEGMENT})+)$")
    socket: Path | None = None
    port: int | None = Field(default=None, ge=1, le=65_535)
    access: Access = Access.TOKEN
    rewrite: str | None = Field(default=None, pattern=rf"^(/|(/{_SEGMENT})+)$")
    websocket: bool = False
    timeout_seconds: float = Field(default=60, ge=0)
    page: bool = False
    confined: bool = False
    busy_retries: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _has_one_upstream(self) -> Self:
        if (self.socket is None) == (self.port is None):
            raise ValueError("give the socket or the port of what answers, one of them")
        return self


def platform_routes(directory: Path) -> tuple[Route, ...]:
    """The routes of `makerflow up` itself, whose sockets are in `directory`."""
    prefect, access = directory / PREFECT_SOCKET, directory / ACCESS_SOCKET
    return (
        Route(name="ui", prefix="/", socket=prefect, access=Access.ACCOUNT, page=True),
        Route(
            name="api",
            prefix="/api",
            socket=prefect,
            access=Access.ACCOUNT,
            websocket=True,
            timeout_seconds=0,
            # Its answer while others write into its SQLite, which browsers would show as an error; and while it starts
            # again. The pauses are about 15 s in all.
            busy_retries=30,
        ),
        Route(name="health", prefix="/api/health", socket=prefect, access=Access.ACCOUNT),  # of now, so asked once
        Route(name="front-door", prefix=OWN_PREFIX, socket=access, access=Access.OPEN),
        Route(name="boards", prefix=BOARDS_PREFIX, socket=access, access=Access.TOKEN, timeout_seconds=120),
        Route(name="dashboards", prefix=DASHBOARDS_PREFIX, socket=access, access=Access.TOKEN, timeout_seconds=120),
    )


def board_prefix(experiment_id: str) -> str:
    """Where the TensorBoard of an experiment is, below the front door."""
    return f"{BOARDS_PREFIX}/{experiment_id}"


def dashboard_prefix(tuning_id: str) -> str:
    """Where the dashboard of a tuning is, likewise."""
    return f"{DASHBOARDS_PREFIX}/{tuning_id}"


def ordered(routes: Iterable[Route]) -> list[Route]:
    """The routes in the order in which they are to be tried: the longest prefix first."""
    return sorted(routes, key=lambda route: (-len(route.prefix), route.prefix, route.name))
