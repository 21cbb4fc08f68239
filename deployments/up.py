"""`makerflow up`: the workflow UI on loopback, with the runs that were made without it."""

import signal
import threading
from collections.abc import Callable

from blocks.connections.server import announced, prefect_server
from blocks.connections.settings import Settings

PORT = 4200


def up(port: int = PORT, say: Callable[[str], None] = print) -> None:
    """Serve the workflow UI in the foreground until SIGINT or SIGTERM.

    Args:
        port: Where it listens on loopback.
        say: Where the addresses are printed.

    Raises:
        ServerFailedError: The port is in use, or the server does not start.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    say("Starting the workflow UI ...")
    settings = Settings()
    with prefect_server(settings, port, ui=True) as api, announced(settings, api):
        from tasks.export import export_journal  # Prefect takes seconds to import: the server starts meanwhile

        exported = export_journal(api)
        say(f"Workflow UI   {api.removesuffix('/api')}  ({exported} earlier runs added)")
        say("Commands on this home use it while it runs. Ctrl-C ends it; trainings go on.")
        while not ended.wait(1):
            pass
