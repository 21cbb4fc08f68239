"""Boards on demand, such as one TensorBoard an experiment: started when opened, ended when nobody uses them."""

import asyncio
import logging
import os
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from blocks.domain.errors import NotFoundError, TransientError
from blocks.gateway.board_kinds import BoardKind
from blocks.gateway.board_process import NOTHING_TO_SHOW
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import Access, Route

START_SECONDS = 60.0
STOP_SECONDS = 5.0
ROUTE_SECONDS = 0.2
"""So long Envoy has to take up a change of routes; it needs milliseconds."""
_LOOK_SECONDS = 0.05
_SOCKET = "b-{}.sock"

logger = logging.getLogger("makerflow")


class BoardFailedError(TransientError):
    """A board does not start; the message says why."""


@dataclass(eq=False)
class Board:
    """One that runs."""

    kind: BoardKind
    id: str
    socket: Path
    process: asyncio.subprocess.Process
    used: float = field(default_factory=time.monotonic)

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        return self.process.returncode is None

    @property
    def path(self) -> str:
        """Where it is."""
        return self.kind.path(self.id)

    @property
    def route(self) -> Route:
        """The way to it."""
        return Route(
            name=f"{self.kind.prefix[1:]}-{self.id}",
            prefix=self.path,
            socket=self.socket,
            access=Access.TOKEN,
            timeout_seconds=120,
            page=True,
            confined=True,
        )


class Boards:
    """The boards of one front door, of all kinds.

    Each starts in a task of its own, which whoever asks for it waits for: one that hangs keeps nobody else waiting, and
    who goes away meanwhile ends nothing.

    Args:
        front_door: How many boards may run and for how long unused, and where their sockets are.
        publish: Told the routes whenever they change, and again later where it raises OSError, as on a full disk.
    """

    def __init__(self, front_door: FrontDoor, publish: Callable[[Sequence[Route]], None]) -> None:
        self._front_door = front_door
        self._publish = publish
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Board] = {}
        self._watches: dict[asyncio.Task[None], Board] = {}
        self._untold = ""

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Look after the boards for as long as the block lasts; none is left after it."""
        self._tell()  # ways that an earlier service left lead nowhere
        for socket in self._front_door.directory.glob(_SOCKET.format("*")):
            socket.unlink()
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            unfinished = [keeper, *self._starting.values()]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            watches = dict(self._watches)
            await asyncio.gather(*watches, *(_kill(board) for board in watches.values()))

    def mark_used(self, path: str) -> None:
        """Note that somebody asks for `path`."""
        board = self._running.get("/".join(path.split("/", 3)[:3]))
        if board:
            board.used = time.monotonic()

    async def ensure(self, kind: BoardKind, id: str) -> None:
        """Have the board of a resource run, and the way to it known.

        Raises:
            NotFoundError: There is no such resource.
            BoardFailedError: It does not start, too many others just do, or the way to it cannot be made known.
        """
        if not kind.may_be(id):
            raise NotFoundError(kind.shows, id)
        board = self._running.get(kind.path(id))
        if board and board.is_alive:
            board.used = time.monotonic()
            self._tell_again()
        else:
            await asyncio.shield(self._starting.get(kind.path(id)) or self._begin(kind, id))
        if self._untold:
            raise BoardFailedError(f"the way to it cannot be made known ({self._untold})")

    def _begin(self, kind: BoardKind, id: str) -> asyncio.Task[None]:
        if len(self._starting) >= self._front_door.most_boards:
            raise BoardFailedError(f"{len(self._starting)} others are just starting, as many as may run at once")

        def forget(task: asyncio.Task[None]) -> None:
            del self._starting[kind.path(id)]
            if not task.cancelled():
                task.exception()  # who asked for it may have gone away

        start = asyncio.create_task(self._start(kind, id))
        self._starting[kind.path(id)] = start
        start.add_done_callback(forget)
        return start

    async def _start(self, kind: BoardKind, id: str) -> None:
        await self._make_room()
        board = await self._launch(kind, id)
        board.used = time.monotonic()
        self._running[board.path] = board
        self._tell()

    async def _launch(self, kind: BoardKind, id: str) -> Board:
        # Of its own each time: one that is still ending keeps its own.
        socket = self._front_door.directory / _SOCKET.format(secrets.token_hex(4))
        command = kind.command(id, kind.path(id), socket)
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, start_new_session=True)
        board = Board(kind, id, socket, process)
        watch = asyncio.create_task(self._watch(board))
        self._watches[watch] = board
        watch.add_done_callback(self._watches.pop)
        async with AsyncExitStack() as unless_it_answers:
            unless_it_answers.push_async_callback(_kill, board)
            await _wait_until_listening(board)
            unless_it_answers.pop_all()
        return board

    async def _make_room(self) -> None:
        """End what was longest unused, until those that run and those that start are no more than may."""
        while self._running and len(self._running) + len(self._starting) > self._front_door.most_boards:
            await self._end(min(self._running.values(), key=lambda board: board.used))

    async def _end(self, board: Board) -> None:
        """End a board, the way to it first, so that whoever asks meanwhile starts it anew."""
        try:
            self._forget(board)
            await asyncio.sleep(ROUTE_SECONDS)
        finally:
            await _kill(board)

    async def _watch(self, board: Board) -> None:
        """Take the way back when a board has ended, of itself or not."""
        await board.process.wait()
        board.socket.unlink(missing_ok=True)
        self._forget(board)

    async def _keep(self) -> None:
        """End what is idle, and tell what could not be told."""
        limit = self._front_door.idle_seconds
        while True:
            await asyncio.sleep(min(limit / 4, 30))
            self._tell_again()
            for board in list(self._running.values()):
                if board.used < time.monotonic() - limit:  # asked anew of each: ending those before it took its time
                    await self._end(board)

    def _forget(self, board: Board) -> None:
        if self._running.get(board.path) is board:
            del self._running[board.path]
            self._tell()

    def _tell(self) -> None:
        try:
            self._publish([board.route for board in self._running.values()])
        except OSError as error:
            self._untold = error.strerror or str(error)
            logger.warning("The ways to boards cannot be made known, which is tried again: %s", error)
        else:
            self._untold = ""

    def _tell_again(self) -> None:
        if self._untold:
            self._tell()


async def _wait_until_listening(board: Board) -> None:
    deadline = time.monotonic() + START_SECONDS
    while board.is_alive and time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(board.socket)
            writer.close()
            return
        await asyncio.sleep(_LOOK_SECONDS)
    code = board.process.returncode
    if code == NOTHING_TO_SHOW:
        raise NotFoundError(board.kind.shows, board.id)
    raise BoardFailedError(f"no answer within {START_SECONDS:.0f} s" if code is None else f"it ended with code {code}")


async def _kill(board: Board) -> None:
    """End a board's processes; TensorBoard's loader ends with it, for it reads a pipe of it."""
    with suppress(ProcessLookupError):
        os.killpg(board.process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(board.process.wait(), STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(board.process.pid, signal.SIGKILL)
    await board.process.wait()
