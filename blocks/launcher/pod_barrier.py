"""Where the workers of a run wait for each other, before their entry points start and when these have ended well.

One that started earlier could be over, and its name gone, before another has looked for it; and there is no model but
of workers that have all ended well. Standard library only.
"""

import hmac
import selectors
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

from blocks.cluster.pod_settings import BARRIER_PORT
from blocks.launcher.pod_sockets import wait_for_socket

_GO, _HEARD = b"go\n", b"heard\n"
_HEARD_SECONDS = 150.0
"""For all to hear that they may go: a connection may break just then, and who lost it comes again, once it is noticed
(see `_keep_alive`)."""

_UNREACHED_SECONDS = 600.0
"""For a pod that has a place to answer: the image of the container in which it does may have to come first."""

_TOLD_SECONDS = 60.0
_MOST_TOLD = 8
_SILENT_SECONDS, _MOST_STRANGERS = 5.0, 64
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.2, 2.0


class BrokenBarrierError(OSError):
    """The workers do not find each other."""


class Barrier:
    """Rank 0 answers from the moment it is entered: so who still brings his inputs is told from who cannot be reached.

    Args:
        addresses: Of the workers, by rank.
        rank: This one's.
        name: Of the run and the attempt: whoever says another is turned away.
        port: Where rank 0 listens meanwhile.
    """

    def __init__(self, addresses: Sequence[str], rank: int, name: str, port: int = BARRIER_PORT) -> None:
        self._addresses, self._rank, self._name, self._port = addresses, rank, name, port
        self._gathered: Future[None] | None = None
        self._is_wanted = True

    def __enter__(self) -> "Barrier":
        if self._rank == 0 and len(self._addresses) > 1:
            self._gathered = Future()
            Thread(target=self._gather, args=(self._gathered,), name="barrier", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_wanted = False

    def wait(self) -> None:
        """Until every worker has come here: for hours where one has much to bring, or no node yet.

        Raises:
            BrokenBarrierError: One was lost in the moment in which all were there, or they cannot reach each other.
        """
        if len(self._addresses) == 1:
            return
        for rank in range(len(self._addresses)):
            self._find(rank)
        self._join()
        if self._gathered:
            self._gathered.result()

    def _find(self, rank: int) -> None:
        """Wait until a worker's pod has a name. This one has: when it is not known, no other will be."""
        own, pause = self._addresses[self._rank], _LOOK_SECONDS
        began = known = time.monotonic()
        while not _has_place(self._addresses[rank]):
            now = time.monotonic()
            if _has_place(own):
                known = now
            elif now - known > _UNREACHED_SECONDS:
                service = own.partition(".")[2]
                raise BrokenBarrierError(
                    f"for {now - known:.0f} s the cluster's DNS has not known {own}, which runs; see that it answers, "
                    f"and that the Service {service} is there"
                )
            if began and now - began > _TOLD_SECONDS:
                _say(f"waiting for the pod of worker {rank}, which has no node yet")
                began = 0.0
            time.sleep(pause)
            pause = min(pause * 1.1, _LONGEST_LOOK_SECONDS)

    def _join(self) -> None:
        """Say that this one is here, until all are."""
        since = time.monotonic()
        while True:
            called = time.monotonic()
            reason = self._call()
            if not reason:
                return
            if self._gathered and self._gathered.done():
                self._gathered.result()  # why nobody answers here
            now = time.monotonic()
            if now - called > _TOLD_SECONDS:  # it was there, and waited
                since = now
            if now - since > _UNREACHED_SECONDS:
                raise BrokenBarrierError(
                    f"worker 0 cannot be reached on port {self._port} of {self._addresses[0]} ({reason}); see that no "
                    "NetworkPolicy keeps the pods of a run from each other"
                )
            time.sleep(_LOOK_SECONDS)

    def _call(self) -> str:
        """Say that this one is here, and wait for the word; why it did not come, empty when it did."""
        try:
            with socket.create_connection((self._addresses[0], self._port), _CONNECT_SECONDS) as connection:
                connection.sendall(f"{self._name} {self._rank}\n".encode())
                connection.settimeout(None)
                _keep_alive(connection)
                if connection.recv(len(_GO)) != _GO:
                    return "it hangs up"
                with suppress(OSError):
                    connection.sendall(_HEARD)
                return ""
        except OSError as error:
            return str(error) or type(error).__name__

    def _listen(self) -> socket.socket:
        lacking = "the other workers are not heard"
        is_wanted = lambda: self._is_wanted  # noqa: E731 - read once
        server = wait_for_socket(socket.SOCK_STREAM, self._port, lacking, _LOOK_SECONDS, is_wanted)
        server.listen()
        return server

    def _gather(self, gathered: "Future[None]") -> None:
        try:
            with self._listen() as server, _Gathering(server, len(self._addresses), self._name) as gathering:
                gathering.gather(lambda: self._is_wanted)
                gathered.set_result(None)
        except BaseException as error:
            gathered.set_exception(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # on the other one a sidecar prints what its worker does


def _has_place(address: str) -> bool:
    try:
        socket.getaddrinfo(address, None)
    except OSError:
        return False
    return True


class _Gathering:
    """The connections of those who have come. Only what the others say is believed: other pods can connect, too.

    Attributes:
        there: Rank to the connection of a worker that waits.
        heard: The ranks that have heard that all may go.
    """

    def __init__(self, server: socket.socket, workers: int, name: str) -> None:
        self.there: dict[int, socket.socket] = {}
        self.heard: set[int] = set()
        self._server, self._workers, self._name = server, workers, name
        self._strangers: dict[socket.socket, float] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._may_go = False

    def __enter__(self) -> "_Gathering":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in [*self.there.values(), *self._strangers]:
            connection.close()
        self._selector.close()

    def gather(self, is_wanted: Callable[[], bool]) -> None:
        """Let nobody go before all are here, and return when all have heard that.

        Raises:
            BrokenBarrierError: One has not.
        """
        told, tell_at = self._workers_but(()), time.monotonic() + _TOLD_SECONDS
        while len(self.there) < self._workers:
            if not is_wanted():
                return
            self._hear()
            if time.monotonic() > tell_at:
                missing, tell_at = self._workers_but(self.there), time.monotonic() + _TOLD_SECONDS
                if missing != told:
                    _say(f"waiting for {missing}")
                told = missing
        self._let_go()
        until = time.monotonic() + _HEARD_SECONDS
        while len(self.heard) < self._workers:
            if time.monotonic() > until:
                raise BrokenBarrierError(f"{self._workers_but(self.heard)} was lost when all were there")
            self._hear()

    def _workers_but(self, ranks: Collection[int]) -> str:
        missing = [str(rank) for rank in range(self._workers) if rank not in ranks]
        return f"worker {', '.join(missing[:_MOST_TOLD])}" + (" and others" if len(missing) > _MOST_TOLD else "")

    def _hear(self) -> None:
        """What is said within a second."""
        for key, _ in self._selector.select(1.0):
            if key.fileobj is self._server:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:  # not closed just now
                self._read(key.fileobj)
        now = time.monotonic()
        for connection in [c for c, since in self._strangers.items() if now - since > _SILENT_SECONDS]:
            self._close(connection)

    def _let_go(self) -> None:
        """Tell all who wait, and who comes later, that they may go."""
        self._may_go = True
        for connection in list(self.there.values()):
            self._tell(connection)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        if len(self._strangers) >= _MOST_STRANGERS:
            self._close(min(self._strangers, key=lambda c: self._strangers[c]))
        connection.setblocking(False)
        _keep_alive(connection)
        self._strangers[connection] = time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            line = connection.recv(512)
        except OSError:
            line = b""
        ranks = [rank for rank, known in self.there.items() if known is connection]
        if ranks:
            if line == _HEARD:
                self.heard.add(ranks[0])
            self._close(connection)
            return
        rank = _rank(line, self._workers, self._name)
        if rank is None:
            self._close(connection)
            return
        del self._strangers[connection]
        if rank in self.there:
            self._close(self.there[rank])
        self.there[rank] = connection
        if self._may_go:
            self._tell(connection)

    def _tell(self, connection: socket.socket) -> None:
        try:
            connection.sendall(_GO)
        except OSError:
            self._close(connection)  # it comes again

    def _close(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        self.there = {rank: known for rank, known in self.there.items() if known is not connection}
        self._selector.unregister(connection)
        connection.close()


def _rank(line: bytes, workers: int, name: str) -> int | None:
    """The rank that somebody says to have; None when he is none of us."""
    said, _, rank = line.removesuffix(b"\n").partition(b" ")
    ours = line.endswith(b"\n") and hmac.compare_digest(said, name.encode())
    return int(rank) if ours and rank.isdigit() and int(rank) < workers else None


def _keep_alive(connection: socket.socket) -> None:
    """Have it break within two minutes where the other end is gone without a word: staging may take hours."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
