"""Where the workers of a run wait for each other before their entry points start. Standard library only.

One that started earlier could be over, and its name gone, before another has looked for it.
"""

import hmac
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from blocks.cluster.pod_settings import BARRIER_PORT

_GO, _HEARD = b"go\n", b"heard\n"
_HEARD_SECONDS = 30.0
"""For all to hear that they may go: a connection may break just then, and who lost it comes again."""

_SILENT_SECONDS, _MOST_STRANGERS = 5.0, 64
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 0.2


def wait_for_others(addresses: Sequence[str], rank: int, name: str, port: int = BARRIER_PORT) -> None:
    """Until every worker has come here.

    Args:
        addresses: Of the workers, by rank.
        rank: This one's.
        name: Of the run and the attempt: whoever says another is turned away.
        port: Where rank 0 listens meanwhile.

    Raises:
        OSError: One was lost in the moment in which all were there, or rank 0 cannot listen.
    """
    if len(addresses) == 1:
        return
    for address in addresses:
        while not _has_place(address):
            time.sleep(_LOOK_SECONDS)
    if rank == 0:
        _gather(len(addresses), name, port)
        return
    while not _join(addresses[0], rank, name, port):
        time.sleep(_LOOK_SECONDS)


def _has_place(address: str) -> bool:
    try:
        socket.getaddrinfo(address, None)
    except OSError:
        return False
    return True


def _gather(workers: int, name: str, port: int) -> None:
    """Let nobody go before all others are here, and go when all have heard that."""
    with _listen(port) as server, _Gathering(server, workers, name) as gathering:
        while len(gathering.there) < workers - 1:
            gathering.hear()
        gathering.let_go()
        until = time.monotonic() + _HEARD_SECONDS
        while len(gathering.heard) < workers - 1 and time.monotonic() < until:
            gathering.hear()


class _Gathering:
    """The connections of those who have come. Only what the others say is believed: other pods can connect, too.

    Attributes:
        there: Rank to the connection of a worker that waits.
        heard: The ranks that have heard that all may go.
    """

    def __init__(self, server: socket.socket, workers: int, name: str) -> None:
        self.there: dict[int, socket.socket] = {}
        self.heard: set[int] = set()
        self._server, self._workers, self._name = server, workers, name
        self._strangers: dict[socket.socket, float] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._may_go = False

    def __enter__(self) -> "_Gathering":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in [*self.there.values(), *self._strangers]:
            connection.close()
        self._selector.close()

    def hear(self) -> None:
        """What is said within a second."""
        for key, _ in self._selector.select(1.0):
            if key.fileobj is self._server:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:  # not closed just now
                self._read(key.fileobj)
        now = time.monotonic()
        for connection in [c for c, since in self._strangers.items() if now - since > _SILENT_SECONDS]:
            self._close(connection)

    def let_go(self) -> None:
        """Tell all who wait, and who comes later, that they may go."""
        self._may_go = True
        for connection in list(self.there.values()):
            self._tell(connection)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        if len(self._strangers) >= _MOST_STRANGERS:
            self._close(min(self._strangers, key=lambda c: self._strangers[c]))
        connection.setblocking(False)
        _keep_alive(connection)
        self._strangers[connection] = time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            line = connection.recv(512)
        except OSError:
            line = b""
        ranks = [rank for rank, known in self.there.items() if known is connection]
        if ranks:
            if line == _HEARD:
                self.heard.add(ranks[0])
            self._close(connection)
            return
        rank = _rank(line, self._workers, self._name)
        if rank is None:
            self._close(connection)
            return
        del self._strangers[connection]
        if rank in self.there:
            self._close(self.there[rank])
        self.there[rank] = connection
        if self._may_go:
            self._tell(connection)

    def _tell(self, connection: socket.socket) -> None:
        try:
            connection.sendall(_GO)
        except OSError:
            self._close(connection)  # it comes again

    def _close(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        self.there = {rank: known for rank, known in self.there.items() if known is not connection}
        self._selector.unregister(connection)
        connection.close()


def _listen(port: int) -> socket.socket:
    """At every address of the pod: by which the others see it, it does not know."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _rank(line: bytes, workers: int, name: str) -> int | None:
    """The rank that somebody says to have; None when he is none of us."""
    said, _, rank = line.removesuffix(b"\n").partition(b" ")
    ours = line.endswith(b"\n") and hmac.compare_digest(said, name.encode())
    return int(rank) if ours and rank.isdigit() and 0 < int(rank) < workers else None


def _keep_alive(connection: socket.socket) -> None:
    """Have it break within two minutes where the other end is gone without a word: staging may take hours."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _join(address: str, rank: int, name: str, port: int) -> bool:
    """Say that this one is here; whether all are."""
    try:
        with socket.create_connection((address, port), _CONNECT_SECONDS) as connection:
            connection.sendall(f"{name} {rank}\n".encode())
            connection.settimeout(None)
            _keep_alive(connection)
            if connection.recv(len(_GO)) != _GO:
                return False
            with suppress(OSError):
                connection.sendall(_HEARD)
            return True
    except OSError:
        return False
