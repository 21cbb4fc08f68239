"""`python -P -m blocks.gateway.board ...`: one TensorBoard, on a Unix socket, for as long as who started it lives.

TensorBoard itself asks nobody who they are, and would listen on a port that every account of the machine reaches.
"""

import signal

from tensorboard import default, program

from blocks.gateway.board_process import read_board_command


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


if __name__ == "__main__":
    arguments = read_board_command()
    serve(arguments.subject, arguments.prefix, arguments.socket)
