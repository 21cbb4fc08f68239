"""The kinds of boards: what each shows, below which path, and by which program."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.gateway.board_process import board_command
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import BOARDS_PREFIX, DASHBOARDS_PREFIX

_EXPERIMENT = re.compile(r"[a-z0-9-]{1,40}")
_TUNING = re.compile(r"tun-[a-z0-9-]{1,36}")


@dataclass(frozen=True)
class BoardKind:
    """One kind.

    Attributes:
        title: What people call it.
        shows: The kind of resource that each shows one of.
        prefix: Each is below it, at the resource's id.
        may_be: Whether there may be a resource of that id; its program knows, and ends with `NOTHING_TO_SHOW`.
        command: What shows the resource of an id below a path, on a socket.
    """

    title: str
    shows: str
    prefix: str
    may_be: Callable[[str], bool]
    command: Callable[[str, str, Path], Sequence[str]]

    def path(self, id: str) -> str:
        """Where the board of a resource is."""
        return f"{self.prefix}/{id}"


def tensorboards(front_door: FrontDoor) -> BoardKind:
    """TensorBoards, each of an experiment's events."""
    program = (sys.executable, "-P", "-m", "blocks.gateway.board")

    def may_be(id: str) -> bool:
        return bool(_EXPERIMENT.fullmatch(id)) and (front_door.boards / id).is_dir()

    def command(id: str, prefix: str, socket: Path) -> Sequence[str]:
        return board_command(program, str(front_door.boards / id), prefix, socket)

    return BoardKind("TensorBoard", "experiment", BOARDS_PREFIX, may_be, command)


def dashboards(front_door: FrontDoor) -> BoardKind:
    """Dashboards, each of a tuning's trials."""

    def may_be(id: str) -> bool:
        return bool(front_door.dashboard_program and _TUNING.fullmatch(id))

    def command(id: str, prefix: str, socket: Path) -> Sequence[str]:
        return board_command(front_door.dashboard_program, id, prefix, socket)

    return BoardKind("dashboard", "tuning", DASHBOARDS_PREFIX, may_be, command)
