"""How the containers of a pod that are ours listen. Standard library only."""

import socket


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
