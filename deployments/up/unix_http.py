"""HTTP over a Unix socket, with the standard library: httpx leaves a socket open whenever nobody listens yet."""

import socket
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ANSWER_SECONDS = 5.0


class UnixConnection(HTTPConnection):
    """A connection to whoever listens on a socket."""

    def __init__(self, path: Path, seconds: float = ANSWER_SECONDS) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path, target: str) -> bool:
    """Whether a GET of `target` is a success."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def accepts(path: Path) -> bool:
    """Whether somebody listens."""
    connection = UnixConnection(path)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True
