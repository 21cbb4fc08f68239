"""What `makerflow up` is asked for, and whether it can be had."""

import socket
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pydantic import SecretStr

from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError
from blocks.gateway.front_door import FrontDoor, front_door_token, own_hosts, own_origins
from deployments.up.layout import Layout

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """Where the front door is to listen.

    Attributes:
        host: An address of this machine; `0.0.0.0` or `::` for all of them.
        port: The port.
        access_string: `user:password` for everybody; empty where none is required.
    """

    host: str
    port: int
    access_string: SecretStr

    @property
    def url(self) -> str:
        """The workflow UI, as it is reached from this machine."""
        address = ip_address(self.host)
        if address.is_unspecified:
            return f"http://{'[::1]' if address.version == 6 else LOOPBACK}:{self.port}"
        return f"http://{f'[{address}]' if address.version == 6 else address}:{self.port}"

    @property
    def api(self) -> str:
        """The workflow API, likewise."""
        return f"{self.url}/api"


def make_request(settings: Settings, host: str, port: int) -> Request:
    """Check what was asked for.

    Raises:
        InvalidInputError: It is no address, or everybody could enter.
    """
    address = _address(host)
    if not settings.access_string.get_secret_value():
        _check_alone(settings, host, address)
    return Request(str(address), port, settings.access_string)


def check_port(request: Request) -> None:
    """Whether the front door can listen there.

    Raises:
        InvalidInputError: The port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ip_address(request.host).version == 6 else socket.AF_INET
    try:
        socket.create_server((request.host, request.port), family=family).close()
    except OSError as error:
        raise InvalidInputError(
            f"{request.host}:{request.port}",
            f"nothing can be served there ({error.strerror})",
            "Choose another port, e.g. makerflow up --port 4300, or end what listens on it.",
        ) from error


def make_front_door(settings: Settings, layout: Layout, request: Request) -> FrontDoor:
    """The front door's settings."""
    return FrontDoor(
        directory=layout.directory,
        host=request.host,
        port=request.port,
        hosts=own_hosts(request.host, settings.hosts),
        origins=own_origins(settings.hosts),
        token=front_door_token(layout.directory),
        access_string=request.access_string,
        boards=settings.home / "tensorboard",
        dashboard_program=(sys.executable, "-P", "-m", "blocks.studies"),
        idle_seconds=settings.tensorboard_idle_minutes * 60,
    )


def _check_alone(settings: Settings, host: str, address: IPv4Address | IPv6Address) -> None:
    """Whoever asks nobody who they are serves this machine alone."""
    if not address.is_loopback:
        raise InvalidInputError(
            f"--host {host}",
            "other machines reach this address, and no access string is required",
            "Listen on 127.0.0.1; or set MAKERFLOW_ACCESS_STRING=user:password, and let others come through a proxy "
            "that speaks TLS, for this is plain HTTP.",
        )
    if settings.hosts:
        raise InvalidInputError(
            f"MAKERFLOW_HOSTS={','.join(settings.hosts)}",
            "other machines come by these names, and no access string is required",
            "Set MAKERFLOW_ACCESS_STRING=user:password too, or unset it.",
        )


def _address(host: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(LOOPBACK if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise InvalidInputError(
            f"--host {host}", "it is no IP address", "Give an address of this machine, or 0.0.0.0 for all of them."
        ) from error
