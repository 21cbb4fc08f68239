"""`makerflow up`: the workflow UI on loopback, with the runs that were made without it."""

import signal
import threading
from collections.abc import Callable

from blocks.connections.server import announcing, is_healthy, prefect_server
from blocks.connections.settings import read_settings
from blocks.domain.errors import WorkflowServerUnavailableError

LOOK_SECONDS = 2.0


def up(port: int, ready: Callable[[str, int], None]) -> None:
    """Serve the workflow UI in the foreground until SIGINT or SIGTERM; commands on this home use it meanwhile.

    Args:
        port: Where it listens on loopback.
        ready: Called once it does, with the API's address and how many earlier runs were added.

    Raises:
        InvalidInputError: It runs on this home already.
        WorkflowServerUnavailableError: The port is in use, or the server does not start, or it died.
    """
    settings = read_settings()
    with announcing(settings) as announce, prefect_server(settings, port, ui=True) as api:
        from tasks.export import export_earlier_runs  # Prefect takes seconds to import: the server starts meanwhile

        exported = export_earlier_runs(api)
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        announce(api)
        ready(api, exported)
        while not ended.wait(LOOK_SECONDS):
            if not is_healthy(api) and not is_healthy(api):
                raise WorkflowServerUnavailableError(api, f"it died; its log is below {settings.home / 'logs'}")
