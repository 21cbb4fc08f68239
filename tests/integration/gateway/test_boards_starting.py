"""Boards that hang, fail or are given up while they start: real processes, without the seconds of TensorBoard."""

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from blocks.domain.errors import NotFoundError
from blocks.gateway import boards as module
from blocks.gateway.board_kinds import BoardKind
from blocks.gateway.board_process import NOTHING_TO_SHOW
from blocks.gateway.boards import BoardFailedError, Boards
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import Route

LISTEN = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(600)"
HANG = "import time; time.sleep(600)"
FAIL = "raise SystemExit(3)"
LOSE = f"raise SystemExit({NOTHING_TO_SHOW})"
ENOUGH_SECONDS = 20
"""Less than a start may take."""


def command(id: str, path: str, socket: Path) -> list[str]:
    program = {"hung": HANG, "fails": FAIL, "lost": LOSE}.get(id.partition("-")[0], LISTEN)
    return [sys.executable, "-S", "-c", program, str(socket)]


KIND = BoardKind("board", "thing", "/things", lambda id: id != "impossible", command)
OTHER_KIND = BoardKind("other", "thing", "/others", lambda id: True, command)


class Told:
    """What was published, last first; nothing while the disk is full."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.is_disk_full = False

    def __call__(self, routes: Sequence[Route]) -> None:
        if self.is_disk_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.names = sorted(route.name for route in routes)


@asynccontextmanager
async def opened(directory: Path, told: Told, **settings: float) -> AsyncIterator[Boards]:
    front_door = FrontDoor(directory=directory, port=1, boards=directory, token=SecretStr("t" * 20), **settings)
    boards = Boards(front_door, told)
    async with boards.kept(), asyncio.timeout(ENOUGH_SECONDS):
        yield boards


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process(os.getpid()).children() if "-S" in arguments(child)]


def arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):  # it has ended
        return process.cmdline()
    return []


async def begun(boards: Boards, id: str) -> "asyncio.Task[None]":
    """Somebody who waits for a board whose process is there, the first one."""
    visitor = asyncio.create_task(boards.ensure(KIND, id))
    await becomes(lambda: len(processes()) == 1)
    return visitor


async def becomes(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())
    assert processes() == []


def test_a_board_that_hangs_as_it_starts_keeps_no_other_from_opening(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told) as boards:
            visitor = await begun(boards, "hung")
            await boards.ensure(KIND, "other")
            assert told.names == ["things-other"]
            assert not visitor.done()

    run(test)
    assert list(own_directory.glob("*.sock")) == []


def test_all_who_ask_for_a_board_wait_for_the_same_start(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told) as boards:
            await asyncio.gather(*(boards.ensure(KIND, "one") for _ in range(5)))
            assert len(processes()) == 1

    run(test)


def test_who_goes_away_meanwhile_ends_the_start_for_nobody_and_leaves_nothing(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told, idle_seconds=0.4) as boards:
            gone, waits = await begun(boards, "one"), asyncio.create_task(boards.ensure(KIND, "one"))
            gone.cancel()
            await waits
            assert told.names == ["things-one"]
            await becomes(lambda: processes() == [])  # idle
            assert told.names == []

    run(test)


def test_as_many_as_may_run_may_start_and_a_further_one_is_refused_at_once(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told, most_boards=2) as boards:
            await boards.ensure(KIND, "used-a")
            await boards.ensure(KIND, "used-b")
            visitors = [asyncio.create_task(boards.ensure(KIND, name)) for name in ("hung-a", "hung-b")]
            await becomes(lambda: told.names == [])  # they make room
            with pytest.raises(BoardFailedError, match="2 others are just starting"):
                await boards.ensure(KIND, "other")
            await becomes(lambda: [process.cmdline()[3] for process in processes()] == [HANG, HANG])
            assert not any(visitor.done() for visitor in visitors)

    run(test)


def test_a_board_that_does_not_start_says_why_and_the_next_visit_tries_again(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.5)

    async def test() -> None:
        told = Told()
        async with opened(own_directory, told) as boards:
            for _ in range(2):
                with pytest.raises(BoardFailedError, match="code 3"):
                    await boards.ensure(KIND, "fails")
                with pytest.raises(BoardFailedError, match="no answer within"):
                    await boards.ensure(KIND, "hung")
            assert processes() == []
            visitor = await begun(boards, "hung")
            visitor.cancel()
            with suppress(asyncio.CancelledError):
                await visitor
            await becomes(lambda: processes() == [])

    run(test)


def test_boards_of_two_kinds_do_not_meet_though_their_ids_are_the_same_and_share_the_room(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told, most_boards=2) as boards:
            await boards.ensure(KIND, "one")
            await boards.ensure(OTHER_KIND, "one")
            assert told.names == ["others-one", "things-one"]
            boards.mark_used("/things/one/page?x")
            boards.mark_used("/things")
            boards.mark_used("/things/nobody/x")
            await boards.ensure(OTHER_KIND, "two")
            assert told.names == ["others-two", "things-one"]

    run(test)


def test_what_there_is_not_is_told_apart_from_what_does_not_start(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told) as boards:
            for id in ("impossible", "lost"):
                with pytest.raises(NotFoundError, match=f"thing.*{id}"):
                    await boards.ensure(KIND, id)
            assert told.names == []

    run(test)


def test_on_a_full_disk_idle_boards_end_all_the_same_and_their_ways_when_there_is_room(
    own_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told, idle_seconds=0.4) as boards:
            await boards.ensure(KIND, "one")
            await boards.ensure(KIND, "two")
            told.is_disk_full = True
            await becomes(lambda: processes() == [])
            assert told.names == ["things-one", "things-two"]
            told.is_disk_full = False
            await becomes(lambda: told.names == [])
            await boards.ensure(KIND, "three")  # who keeps them is still there
            await becomes(lambda: processes() == [])

    run(test)
    assert "No space left on device" in caplog.text


def test_a_board_to_which_no_way_can_be_made_known_says_so_and_is_there_once_there_is_room(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        async with opened(own_directory, told) as boards:
            told.is_disk_full = True
            for _ in range(2):
                with pytest.raises(BoardFailedError, match="No space left on device"):
                    await boards.ensure(KIND, "one")
            assert len(processes()) == 1
            told.is_disk_full = False
            await boards.ensure(KIND, "one")
            assert told.names == ["things-one"]
            assert len(processes()) == 1

    run(test)


def test_a_service_that_starts_on_a_full_disk_keeps_boards_as_well(own_directory: Path) -> None:
    async def test() -> None:
        told = Told()
        told.is_disk_full = True
        async with opened(own_directory, told) as boards:
            told.is_disk_full = False
            await boards.ensure(KIND, "one")
            assert told.names == ["things-one"]

    run(test)
