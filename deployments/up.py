"""`makerflow up`: the workflow UI on loopback, with the runs that were made without it."""

import signal
import threading
from collections.abc import Callable

from blocks.connections.server import announced, prefect_server
from blocks.connections.settings import Settings


def up(port: int, ready: Callable[[str, int], None]) -> None:
    """Serve the workflow UI in the foreground until SIGINT or SIGTERM; commands on this home use it meanwhile.

    Args:
        port: Where it listens on loopback.
        ready: Called once it does, with the API's address and how many earlier runs were added.

    Raises:
        ServerFailedError: The port is in use, or the server does not start.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    settings = Settings()
    with prefect_server(settings, port, ui=True) as api, announced(settings, api):
        from tasks.export import export_journal  # Prefect takes seconds to import: the server starts meanwhile

        ready(api, export_journal(api))
        while not ended.wait(1):
            pass
