"""`python -P -m blocks.studies ...`: optuna-dashboard for one tuning, on a Unix socket, while who started it lives."""

import logging
import sys

from blocks.connections.settings import read_settings
from blocks.domain.errors import NotFoundError
from blocks.gateway.board_process import NOTHING_TO_SHOW, read_board_command
from blocks.registry.database import open_registry


def serve(tuning_id: str, prefix: str, socket: str) -> None:
    """Show the trials of a tuning until a signal ends the process, or until the tuning is deleted.

    Raises:
        NotFoundError: There is no such tuning.
    """
    registry = open_registry(read_settings().database_url)
    registry.tunings.get(tuning_id)  # before what takes seconds to import
    from werkzeug.serving import make_server

    from blocks.studies.dashboard import Dashboard, LiveTrials

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # Envoy writes what is asked for
    dashboard = Dashboard(LiveTrials(registry, tuning_id), prefix, end=lambda: server.shutdown())
    server = make_server(f"unix://{socket}", 0, dashboard, threaded=True)
    server.serve_forever()
    raise NotFoundError("tuning", tuning_id)


if __name__ == "__main__":
    arguments = read_board_command()
    try:
        serve(arguments.subject, arguments.prefix, arguments.socket)
    except NotFoundError as error:
        logging.getLogger("makerflow").warning("%s", error)
        sys.exit(NOTHING_TO_SHOW)
