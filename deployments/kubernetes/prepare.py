"""`python -P -m deployments.kubernetes.prepare`: what has to be there before the containers of the platform start.

It does what the guard of `makerflow up` does first, in the directories that they share.
"""

import argparse
import os
import sys

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from blocks.connections.settings import Settings, read_settings
from blocks.domain.errors import MakerflowError, TransientError
from blocks.gateway.files import write_front_door
from blocks.gateway.front_door import TOKEN_FILE, front_door_token, write_private
from blocks.registry.database import open_registry
from deployments.up.layout import Layout, make_layout
from deployments.up.log_rotation import FLOW_RUNS
from deployments.up.request import Request, make_front_door, make_request

DATABASE_SECONDS = 300
OUTPUT = "/proc/1/fd/1"
"""The output of a container, which its cluster keeps and bounds."""


def prepare(host: str, port: int) -> None:
    """Make the front door's files and the registry's tables; waits for the database.

    Args:
        host: Where the front door is to listen.
        port: The same.

    Raises:
        InvalidInputError: A setting is wrong, or everybody could enter.
        RegistryUnavailableError: The database does not answer.
    """
    settings = read_settings()
    request = make_request(settings, host, port)
    layout = make_layout(settings)
    _write_front_door(settings, layout, request)
    _send_to_output(layout)
    _make_tables(settings)


def _write_front_door(settings: Settings, layout: Layout, request: Request) -> None:
    """With the token of the pod before this one: who has signed in stays so."""
    token = front_door_token(settings.home)
    write_private(layout.directory / TOKEN_FILE, token.get_secret_value())
    write_front_door(make_front_door(settings, layout, request))
    write_private(layout.lock, request.api)


def _send_to_output(layout: Layout) -> None:
    """Have the output of flow runs be the runner's: nobody bounds a file here."""
    log = layout.log(FLOW_RUNS)
    log.unlink(missing_ok=True)
    log.symlink_to(OUTPUT)


@retry(
    retry=retry_if_exception_type(TransientError),
    stop=stop_after_delay(DATABASE_SECONDS),
    wait=wait_fixed(1),
    reraise=True,
)
def _make_tables(settings: Settings) -> None:
    open_registry(settings.database_url).close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -P -m deployments.kubernetes.prepare")
    parser.add_argument("--host", required=True, help="where the front door is to listen")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    try:
        prepare(options.host, options.port)
    except MakerflowError as error:
        sys.exit(str(error))
    except PermissionError as error:
        sys.exit(
            f"{error.filename} cannot be written to by the user {os.getuid()}. "
            "Let the volume belong to that user, or choose a storage class that heeds fsGroup."
        )
