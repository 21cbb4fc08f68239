"""`python -P -m blocks.launcher.host SOCKET ROOM`: forks agents that need not import anything any more.

Who launches many runs holds the other end of the socket (see `blocks.cluster.agent_host`), asks for one agent at a
time, and passes the files that are the agent's own. An agent that is forked is the same as one that is started: a
session of its own, the same environment and directory, its command line and its run's marker in /proc. It outlives this
process, which ends as soon as nobody holds the socket's other end.

This process never sees a secret: an agent reads its own from the pipe that is passed for it.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from dataclasses import dataclass

from blocks.cluster.processes import AGENT, MARKER
from blocks.launcher.agent import forbid_looking, main
from blocks.launcher.appearance import find_arguments, find_variable

MODULE = "blocks.launcher.host"

ROOM = "MAKERFLOW_ROOM"
"""The variable that this process is started with to keep room for an agent's marker."""

PRELOADED = ("blocks.launcher.run",)

REQUEST_BYTES = 1 << 16
READY = b"{}"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        directory: Of the run.
        modules: That its agent is going to need, beside those that all need.
        lock: A descriptor that holds the agent's lock.
        secrets: The agent's standard input.
        log: Gets what it prints.
    """

    directory: str
    modules: tuple[str, ...]
    lock: int
    secrets: int
    log: int

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in (self.lock, self.secrets, self.log):
            os.close(descriptor)


class Host:
    """One process that forks agents.

    Raises:
        OSError: Its agents would not be found, as this kernel does not show what they are.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._arguments, self._marker = find_arguments(MODULE), find_variable(ROOM)
        self._arguments.show(b"\0".join((os.fsencode(MODULE), str(connection.fileno()).encode())))
        del os.environ[ROOM]
        self._marker.show(b"")
        forbid_looking()  # who may look into this process may look into every agent, before that forbids it
        self._alarm, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Answer requests until the other end is closed."""
        self._prepare(PRELOADED)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._connection.send(READY)
        while True:
            ready, _, _ = select.select([self._connection.fileno(), self._alarm], [], [])
            if self._alarm in ready:
                os.read(self._alarm, 4096)
                _reap()
            if self._connection.fileno() in ready:
                request = self._receive()
                if request is None:
                    return
                try:
                    answer = self._start(request)
                finally:
                    request.close()
                self._connection.send(json.dumps(answer).encode())

    def _receive(self) -> Request | None:
        try:
            text, files, _, _ = socket.recv_fds(self._connection, REQUEST_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it was closed while an answer of ours was on its way
            return None
        if not text:
            return None
        document = json.loads(text)
        return Request(document["directory"], tuple(document["modules"]), *files)

    def _start(self, request: Request) -> dict[str, object]:
        arguments = b"\0".join(map(os.fsencode, (AGENT, request.directory, str(request.lock), "")))
        marker = os.fsencode(f"{MARKER}={request.directory}")
        if not (self._arguments.fits(arguments) and self._marker.fits(marker)):
            return {"error": "the run's directory has too long a name"}
        self._prepare(request.modules)
        if len(os.listdir("/proc/self/task")) > 1:
            return {"error": "something that was imported has started a thread"}
        try:
            pid = os.fork()
        except OSError as error:
            return {"error": str(error)}
        if pid == 0:
            self._become_agent(request, arguments, marker)
        return {"pid": pid}

    def _prepare(self, modules: tuple[str, ...]) -> None:
        """Import once what every agent would import."""
        missing = [name for name in modules if name not in sys.modules]
        for name in missing:
            importlib.import_module(name)
        if missing:
            gc.collect()
            gc.freeze()  # a collection in an agent would write to, and so copy, all that it shares with this process

    def _become_agent(self, request: Request, arguments: bytes, marker: bytes) -> None:
        """What follows a fork; it does not return."""
        code = 1
        try:
            self._arguments.show(arguments)
            self._marker.show(marker)
            os.setsid()
            self._let_go(request)
            os.chdir(request.directory)
            os.environ[MARKER] = request.directory
            code = main([request.directory, str(request.lock)])
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code)  # nothing of the host may run at the end

    def _let_go(self, request: Request) -> None:
        """Keep of the open files and the signals only what is the agent's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._connection.detach(), self._alarm, self._bell):
            os.close(descriptor)
        os.dup2(request.secrets, 0)
        os.dup2(request.log, 1)
        os.dup2(request.log, 2)
        os.close(request.secrets)
        os.close(request.log)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run(descriptor: int) -> None:
    """Serve who holds the other end of this socket; what goes wrong is told there, as nobody reads anything else."""
    connection = socket.socket(fileno=descriptor)
    try:
        Host(connection).serve()
    except BrokenPipeError:  # it was closed meanwhile
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]}).encode())


if __name__ == "__main__":
    run(int(sys.argv[1]))
    os._exit(0)
