"""TensorBoards on demand: one an experiment, started when somebody opens it, ended when nobody uses it."""

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from blocks.domain.errors import TransientError
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import BOARDS_PREFIX, Access, Route, board_prefix

START_SECONDS = 60.0
STOP_SECONDS = 5.0
ROUTE_SECONDS = 0.2
"""So long Envoy has to take up a change of routes; it needs milliseconds."""
_LOOK_SECONDS = 0.05
_SOCKET = "b-{}.sock"
_EXPERIMENT = re.compile(r"[a-z0-9-]{1,40}")


class BoardFailedError(TransientError):
    """A TensorBoard does not start; the message says why."""


@dataclass(eq=False)
class Board:
    """One TensorBoard that runs."""

    experiment_id: str
    socket: Path
    process: asyncio.subprocess.Process
    used: float = field(default_factory=time.monotonic)

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        return self.process.returncode is None

    @property
    def route(self) -> Route:
        """The way to it."""
        return Route(
            name=f"board-{self.experiment_id}",
            prefix=board_prefix(self.experiment_id),
            socket=self.socket,
            access=Access.TOKEN,
            timeout_seconds=120,
            page=True,
            confined=True,
        )


def board_command(events: Path, prefix: str, socket: Path) -> list[str]:
    """The command that shows events below a directory as pages below `prefix`; it ends when this process does."""
    return [
        *(sys.executable, "-P", "-m", "blocks.gateway.board", "--parent", str(os.getpid())),
        *("--events", str(events), "--prefix", prefix, "--socket", str(socket)),
    ]


class Boards:
    """The TensorBoards of one front door.

    Each starts in a task of its own, which whoever asks for it waits for: one that hangs keeps nobody else waiting, and
    who goes away meanwhile ends nothing.

    Args:
        front_door: Where events are, how many boards may run and for how long unused.
        publish: Told the routes whenever they change.
        command: What shows the events of a directory below a prefix, on a socket.
    """

    def __init__(
        self,
        front_door: FrontDoor,
        publish: Callable[[Sequence[Route]], None],
        command: Callable[[Path, str, Path], Sequence[str]] = board_command,
    ) -> None:
        self._front_door = front_door
        self._publish = publish
        self._command = command
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Board] = {}
        self._watches: dict[asyncio.Task[None], Board] = {}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Look after the boards for as long as the block lasts; none is left after it."""
        self._tell()  # ways that an earlier service left lead nowhere
        for socket in self._front_door.directory.glob(_SOCKET.format("*")):
            socket.unlink()
        keeper = asyncio.create_task(self._end_idle_ones())
        try:
            yield
        finally:
            unfinished = [keeper, *self._starting.values()]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            watches = dict(self._watches)
            await asyncio.gather(*watches, *(_kill(board) for board in watches.values()))

    def has_events(self, experiment_id: str) -> bool:
        """Whether there is a directory of events of that experiment."""
        return bool(_EXPERIMENT.fullmatch(experiment_id)) and (self._front_door.boards / experiment_id).is_dir()

    def mark_used(self, path: str) -> None:
        """Note that somebody asks for `path`."""
        parts = path.split("/", 3)
        board = self._running.get(parts[2]) if len(parts) > 2 and f"/{parts[1]}" == BOARDS_PREFIX else None
        if board:
            board.used = time.monotonic()

    async def ensure(self, experiment_id: str) -> None:
        """Have the board of an experiment run, and the way to it known.

        Raises:
            BoardFailedError: It does not start, or too many others are just starting.
        """
        board = self._running.get(experiment_id)
        if board and board.is_alive:
            board.used = time.monotonic()
            return
        await asyncio.shield(self._starting.get(experiment_id) or self._begin(experiment_id))

    def _begin(self, experiment_id: str) -> asyncio.Task[None]:
        if len(self._starting) >= self._front_door.most_boards:
            raise BoardFailedError(f"{len(self._starting)} others are just starting, as many as may run at once")

        def forget(task: asyncio.Task[None]) -> None:
            del self._starting[experiment_id]
            if not task.cancelled():
                task.exception()  # who asked for it may have gone away

        start = asyncio.create_task(self._start(experiment_id))
        self._starting[experiment_id] = start
        start.add_done_callback(forget)
        return start

    async def _start(self, experiment_id: str) -> None:
        await self._make_room()
        board = await self._launch(experiment_id)
        board.used = time.monotonic()
        self._running[experiment_id] = board
        self._tell()

    async def _launch(self, experiment_id: str) -> Board:
        # Of its own each time: one that is still ending keeps its own.
        socket = self._front_door.directory / _SOCKET.format(secrets.token_hex(4))
        command = self._command(self._front_door.boards / experiment_id, board_prefix(experiment_id), socket)
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, start_new_session=True)
        board = Board(experiment_id, socket, process)
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
        self._forget(board)
        await asyncio.sleep(ROUTE_SECONDS)
        await _kill(board)

    async def _watch(self, board: Board) -> None:
        """Take the way back when a board has ended, of itself or not."""
        await board.process.wait()
        board.socket.unlink(missing_ok=True)
        self._forget(board)

    async def _end_idle_ones(self) -> None:
        limit = self._front_door.idle_seconds
        while True:
            await asyncio.sleep(min(limit / 4, 30))
            for board in list(self._running.values()):
                if board.used < time.monotonic() - limit:  # asked anew of each: ending those before it took its time
                    await self._end(board)

    def _forget(self, board: Board) -> None:
        if self._running.get(board.experiment_id) is board:
            del self._running[board.experiment_id]
            self._tell()

    def _tell(self) -> None:
        self._publish([board.route for board in self._running.values()])


async def _wait_until_listening(board: Board) -> None:
    deadline = time.monotonic() + START_SECONDS
    while board.is_alive and time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(board.socket)
            writer.close()
            return
        await asyncio.sleep(_LOOK_SECONDS)
    code = board.process.returncode
    raise BoardFailedError(f"no answer within {START_SECONDS:.0f} s" if code is None else f"it ended with code {code}")


async def _kill(board: Board) -> None:
    """End a board's processes; its loader ends with it, for it reads a pipe of it."""
    with suppress(ProcessLookupError):
        os.killpg(board.process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(board.process.wait(), STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(board.process.pid, signal.SIGKILL)
    await board.process.wait()
