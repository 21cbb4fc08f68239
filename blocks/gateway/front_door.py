"""The front door's settings: made by `makerflow up`, kept in a file that only the owner can read."""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.files import replace_file
from blocks.gateway.routes import Route, platform_routes
from blocks.locks import locked

SETTINGS_FILE = "front-door.json"
TOKEN_FILE = "token"  # noqa: S105 - the file's name
OWN_ACCOUNT = "makerflow"
"""The user name beside which the token is a password, for clients that know only Basic authorization."""

_TOKEN_BYTES = 1024
_PORT = re.compile(r":[0-9]+$")


class FrontDoor(BaseModel):
    """What the front door and its access service are told.

    Attributes:
        directory: Where their sockets and files are, 0700.
        host: The address that it listens on.
        port: The port.
        hosts: The names by which it may be called, without port; Envoy's wildcards are allowed (`*.example.org`, `*`).
        origins: Of pages that are ours whatever Host comes with their requests; in small letters, as browsers say it.
        token: What opens everything; see `front_door_token`.
        access_string: `user:password` that the UI and the API ask for; empty when they are open.
        boards: The directory whose subdirectories are the experiments' events.
        dashboard_program: What shows a tuning when it is told which, as `board_command` does; empty for no dashboards.
        idle_seconds: A TensorBoard or dashboard that nobody used for so long is ended.
        most_boards: As many run at once; the one longest unused is ended for a further one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65_535)
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    origins: tuple[str, ...] = ()
    token: SecretStr = Field(min_length=16)
    access_string: SecretStr = SecretStr("")
    boards: Path
    dashboard_program: tuple[str, ...] = ()
    idle_seconds: float = Field(default=900, gt=0)
    most_boards: int = Field(default=4, ge=1)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that are there from the start."""
        return platform_routes(self.directory)

    def save(self) -> Path:
        """Write the settings, secrets included, for the owner's eyes; a reader finds the old ones or these."""
        values = self.model_dump(mode="json") | {
            "token": self.token.get_secret_value(),
            "access_string": self.access_string.get_secret_value(),
        }
        return write_private(self.directory / SETTINGS_FILE, json.dumps(values, indent=1))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The settings that `save` wrote.

        Raises:
            InvalidInputError: They are not there, or damaged.
        """
        file = directory / SETTINGS_FILE
        try:
            return cls.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise InvalidInputError(f"The front door's settings {file}", f"{why}", "Run `makerflow up`.") from error


def front_door_token(directory: Path) -> SecretStr:
    """The token of the front door whose directory this is: made when it is first asked for, then kept.

    A file that was emptied, as by a power cut, holds none.
    """
    with locked(directory / TOKEN_FILE) as file:  # of two that make one at once, the first counts
        token = os.pread(file, _TOKEN_BYTES, 0).strip(b"\0 \r\n\t")
        if not token:
            token = secrets.token_urlsafe(32).encode()
            os.ftruncate(file, 0)
            os.pwrite(file, token, 0)
            os.fsync(file)
    return SecretStr(token.decode("ascii"))


def own_account(token: SecretStr) -> str:
    """The token as `user:password`: what PREFECT_API_AUTH_STRING is for the product's own processes."""
    return f"{OWN_ACCOUNT}:{token.get_secret_value()}"


def own_hosts(host: str, further: Iterable[str] = ()) -> tuple[str, ...]:
    """The names and addresses by which people call a front door that listens on `host`.

    Any other name is refused: a page elsewhere could have it point here (DNS rebinding).

    Args:
        host: An address of this machine.
        further: Names of other origin, such as a proxy's, in small letters; their ports do not matter here.
    """
    names = ["localhost", "127.0.0.1", "[::1]", *(_PORT.sub("", name) for name in further)]
    if not _is_wildcard(host):
        return tuple(dict.fromkeys([*names, _bracketed(host)]))
    return tuple(dict.fromkeys([*names, socket.gethostname().lower(), socket.getfqdn().lower(), *_addresses()]))


def own_origins(hosts: Iterable[str]) -> tuple[str, ...]:
    """The origins of pages of `hosts`, each with its port where that is not the scheme's own."""
    ports = {"http": ":80", "https": ":443"}
    return tuple(f"{scheme}://{host.removesuffix(port)}" for host in hosts for scheme, port in ports.items())


def write_private(file: Path, text: str, *, durable: bool = True) -> Path:
    """Put `text` into a file of mode 0600, as `replace_file` does."""
    replace_file(file, text, mode=0o600, durable=durable)
    return file


def _addresses() -> Iterator[str]:
    import psutil  # here alone: every command reads the token, and need not wait for this

    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                yield _bracketed(address.address.split("%")[0])


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
