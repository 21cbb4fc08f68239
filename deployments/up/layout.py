"""Where an instance keeps what, and which homes it can work in."""

from dataclasses import dataclass
from pathlib import Path

from blocks.connections.settings import Settings, make_home
from blocks.domain.errors import InvalidInputError
from blocks.gateway.routes import ACCESS_SOCKET, ADMIN_SOCKET, PREFECT_SOCKET

SOCKET_BYTES = 107
"""What the kernel lets the path of a Unix socket be."""

_SUFFIX = f".{2**22}"
"""Supervisord binds its socket with its process id behind the name, then renames it; no id on Linux is longer."""

_COMMENTS = (" ;", " #", "\t;", "\t#", "\n")
"""What supervisor's configuration would take for the beginning of a comment, wherever it stands."""


@dataclass(frozen=True)
class Layout:
    """The files of `makerflow up` on one home.

    Attributes:
        home: MAKERFLOW_HOME.
    """

    home: Path

    @property
    def directory(self) -> Path:
        """What belongs to the running instance."""
        return self.home / "up"

    @property
    def logs(self) -> Path:
        """The parts' output."""
        return self.home / "logs"

    @property
    def parts(self) -> Path:
        """One file a part: as many bytes as it was started."""
        return self.directory / "parts"

    @property
    def temporary(self) -> Path:
        """The runner's temporary files; emptied by the next one."""
        return self.directory / "tmp"

    @property
    def lock(self) -> Path:
        """Locked while an instance lives; holds the API's address from when it is ready."""
        return self.directory / "api"

    @property
    def state(self) -> Path:
        """What the instance says of itself."""
        return self.directory / "state.json"

    @property
    def arrival(self) -> Path:
        """What the runner says once everything is registered."""
        return self.directory / "arrival.json"

    @property
    def pulse(self) -> Path:
        """Touched by the runner each time it looks what it is asked for."""
        return self.directory / "pulse"

    @property
    def supervisor_config(self) -> Path:
        """What supervisord is started with."""
        return self.directory / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord answers."""
        return self.directory / "supervisor.sock"

    @property
    def prefect_socket(self) -> Path:
        """Where Prefect's server answers."""
        return self.directory / PREFECT_SOCKET

    @property
    def access_socket(self) -> Path:
        """Where the access service answers."""
        return self.directory / ACCESS_SOCKET

    @property
    def admin_socket(self) -> Path:
        """Where the front door tells how it is."""
        return self.directory / ADMIN_SOCKET

    def log(self, part: str) -> Path:
        """The output of a part."""
        return self.logs / f"{part}.log"


def make_layout(settings: Settings) -> Layout:
    """Make the directories of an instance, for their owner alone.

    Raises:
        InvalidInputError: The home cannot hold one.
    """
    layout = Layout(make_home(settings))
    _check(layout)
    for directory in (layout.directory, layout.logs, layout.parts):
        directory.mkdir(exist_ok=True, mode=0o700)
    return layout


def _check(layout: Layout) -> None:
    what = f"MAKERFLOW_HOME={layout.home}"
    remedy = "Set MAKERFLOW_HOME to another directory, e.g. MAKERFLOW_HOME=~/.makerflow."
    too_long = len(f"{layout.supervisor_socket}{_SUFFIX}".encode()) - SOCKET_BYTES
    if too_long > 0:
        limit = f"a socket's path has at most {SOCKET_BYTES} bytes"
        raise InvalidInputError(what, f"it is {too_long} bytes too long for the sockets in it ({limit})", remedy)
    if any(sign in str(layout.home) for sign in _COMMENTS):
        raise InvalidInputError(what, "a blank before ; or # cannot be part of it", remedy)
