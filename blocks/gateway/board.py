"""`python -P -m blocks.gateway.board ...`: one TensorBoard, on a Unix socket, for as long as who started it lives.

TensorBoard itself asks nobody who they are, and would listen on a port that every account of the machine reaches.
"""

import argparse
import ctypes
import os
import signal
import sys

from tensorboard import default, program

_PR_SET_PDEATHSIG = 1


class SocketServer(program.WerkzeugServer):  # type: ignore[misc] # TensorBoard publishes no types
    """TensorBoard's server, which can listen on a Unix socket but not say so."""

    def get_url(self) -> str:
        """Where it listens."""
        return str(self._host)


def serve(events: str, prefix: str, socket: str) -> None:
    """Show events until a signal ends the process.

    TensorBoard's fast loader costs nothing while nothing changes, where the other takes 40 % of a core for 1,000
    trainings; but its program exists for a few platforms only, and elsewhere the slow one serves.
    """
    board = program.TensorBoard(plugins=default.get_plugins(), server_class=SocketServer)
    options = {"load_fast": "auto", "logdir": events, "path_prefix": prefix, "host": f"unix://{socket}", "port": "0"}
    board.configure(argv=["tensorboard", *(f"--{name}={value}" for name, value in options.items())])
    board.launch()
    signal.pause()


def end_with(parent: int) -> None:
    """Be killed as soon as the parent ends, or at once when it has."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The access service is gone.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("--events", "--prefix", "--socket"):
        parser.add_argument(option, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with(arguments.parent)
    serve(arguments.events, arguments.prefix, arguments.socket)
