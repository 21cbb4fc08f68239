"""TensorBoards on demand: one an experiment, started when somebody opens it, ended when nobody uses it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from blocks.domain.errors import TransientError
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import BOARDS_PREFIX, Access, Route, board_prefix

START_SECONDS = 60.0
STOP_SECONDS = 5.0
ROUTE_SECONDS = 0.2
"""So long Envoy has to take up a change of routes; it needs milliseconds."""
_LOOK_SECONDS = 0.05
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
        )


class Boards:
    """The TensorBoards of one front door.

    Args:
        front_door: Where events are, how many boards may run and for how long unused.
        publish: Told the routes whenever they change.
    """

    def __init__(self, front_door: FrontDoor, publish: Callable[[Sequence[Route]], None]) -> None:
        self._front_door = front_door
        self._publish = publish
        self._running: dict[str, Board] = {}
        self._watches: dict[asyncio.Task[None], Board] = {}
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Look after the boards for as long as the block lasts; none is left after it."""
        self._tell()  # ways that an earlier service left lead nowhere
        keeper = asyncio.create_task(self._end_idle_ones())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.gather(*(_kill(board) for board in list(self._watches.values())))

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
            BoardFailedError: It does not start.
        """
        async with self._turn:
            board = self._running.get(experiment_id)
            if board and board.is_alive:
                board.used = time.monotonic()
                return
            await self._make_room()
            started = await self._start(experiment_id)
            self._running[experiment_id] = started
            self._tell()
            watch = asyncio.create_task(self._watch(started))
            self._watches[watch] = started
            watch.add_done_callback(self._watches.pop)

    async def _start(self, experiment_id: str) -> Board:
        socket = self._front_door.directory / f"b-{sha256(experiment_id.encode()).hexdigest()[:8]}.sock"
        socket.unlink(missing_ok=True)
        command = _command(self._front_door.boards / experiment_id, board_prefix(experiment_id), socket)
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, start_new_session=True)
        board = Board(experiment_id, socket, process)
        async with AsyncExitStack() as unless_it_answers:
            unless_it_answers.push_async_callback(_kill, board)
            await _wait_until_listening(board)
            unless_it_answers.pop_all()
        return board

    async def _make_room(self) -> None:
        while len(self._running) >= self._front_door.most_boards:
            await self._end(min(self._running.values(), key=lambda board: board.used))

    async def _end(self, board: Board) -> None:
        """End a board, the way to it first, so that whoever asks meanwhile starts it anew."""
        self._forget(board)
        await asyncio.sleep(ROUTE_SECONDS)
        await _kill(board)

    async def _watch(self, board: Board) -> None:
        """Take the way back when a board ends of itself."""
        await board.process.wait()
        self._forget(board)

    async def _end_idle_ones(self) -> None:
        limit = self._front_door.idle_seconds
        while True:
            await asyncio.sleep(min(limit / 4, 30))
            async with self._turn:
                before = time.monotonic() - limit
                for board in [board for board in self._running.values() if board.used < before]:
                    await self._end(board)

    def _forget(self, board: Board) -> None:
        if self._running.get(board.experiment_id) is board:
            del self._running[board.experiment_id]
            self._tell()

    def _tell(self) -> None:
        self._publish([board.route for board in self._running.values()])


def _command(events: Path, prefix: str, socket: Path) -> list[str]:
    """The command that shows events below a directory as pages below `prefix`; it ends when this process does."""
    return [
        *(sys.executable, "-P", "-m", "blocks.gateway.board", "--parent", str(os.getpid())),
        *("--events", str(events), "--prefix", prefix, "--socket", str(socket)),
    ]


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
