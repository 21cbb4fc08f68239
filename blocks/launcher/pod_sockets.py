"""How the containers of a pod that are ours listen. Standard library only."""

import socket
import sys
import time
from collections.abc import Callable


def open_socket(kind: socket.SocketKind, port: int) -> socket.socket:
    """At every address of the pod: by which the others see it, it does not know.

    Raises:
        OSError: Somebody else has the port.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    server = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
    except OSError:
        server.close()
        raise
    return server


def wait_for_socket(
    kind: socket.SocketKind, port: int, lacking: str, pause_seconds: float, is_wanted: Callable[[], bool] = lambda: True
) -> socket.socket:
    """The same, once the port is free: an entry point can have it.

    Args:
        kind: Of the socket.
        port: Its port.
        lacking: What there is not meanwhile; said once.
        pause_seconds: Until it is asked for again.
        is_wanted: Whether to go on waiting.

    Raises:
        OSError: Somebody else has the port, and it is not wanted any more.
    """
    is_told = False
    while True:
        try:
            return open_socket(kind, port)
        except OSError as error:
            if not is_wanted():
                raise
            if not is_told:
                print(f"{lacking} on port {port}: {error}", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(pause_seconds)
