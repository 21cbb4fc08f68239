"""Where the workers of a run wait for each other before their entry points start. Standard library only.

One that started earlier could be over, and its name gone, before another has looked for it.
"""

import selectors
import socket
import time
from collections.abc import Sequence

from blocks.cluster.pod_settings import BARRIER_PORT

_GO = b"go\n"
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
    """Let nobody go before all others are here."""
    there: dict[int, socket.socket] = {}
    with _listen(port) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while len(there) < workers - 1:
            for key, _ in selector.select():
                if key.fileobj is server:
                    connection, _ = server.accept()
                    connection.setblocking(False)
                    _keep_alive(connection)
                    selector.register(connection, selectors.EVENT_READ)
                    continue
                connection = key.fileobj  # type: ignore[assignment] # the stubs know descriptors, too
                there = {rank: known for rank, known in there.items() if known is not connection}
                rank = _read(connection, workers, name)
                if rank is None:
                    selector.unregister(connection)
                    connection.close()
                else:
                    there[rank] = connection
        for connection in there.values():
            connection.sendall(_GO)
            connection.close()


def _listen(port: int) -> socket.socket:
    """At every address of the pod: by which the others see it, it does not know."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _read(connection: socket.socket, workers: int, name: str) -> int | None:
    """The rank that somebody says to have; None when he is none of us, or has gone."""
    try:
        line = connection.recv(512).decode(errors="replace")
    except OSError:
        return None
    said, _, rank = line.removesuffix("\n").partition(" ")
    return int(rank) if line.endswith("\n") and said == name and rank.isdecimal() and 0 < int(rank) < workers else None


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
            return connection.recv(len(_GO)) == _GO
    except OSError:
        return False
