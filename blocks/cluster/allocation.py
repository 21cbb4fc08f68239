"""The queue of one machine: runs are placed in the order of their creation, and never more than fit.

Every run has a ticket in `queue/`, an empty file whose name says all, so that one look at the directory is the whole
state, and a ticket changes by being renamed. Looking and renaming happen under one lock. A ticket counts only while its
run's agent lives (`agent_lock`): the room of a dead one is free at once, after what is left of its processes was ended.

An agent waits here for hours, and many may, so this is small: standard library only, the first in the queue looks for
room twenty times a second, the others the more seldom the farther behind, and only whether the directory changed. Each
looks after the run just ahead of it, the first after those that are placed.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from blocks.cluster import agent_lock
from blocks.cluster.capacity import Room, capacity
from blocks.cluster.layout import RunLayout, read_json
from blocks.locks import locked

FIRST_LOOKS_SECONDS = 0.05
OTHERS_LOOK_SECONDS = 0.25
_FEW = 8  # so many runs ahead double the time between two looks
_LOOK_AGAIN_SECONDS = 2.0  # two changes within one tick of the file system's clock look like one


@dataclass(frozen=True, order=True)
class Ticket:
    """One run in the queue or placed; ordered as the queue is.

    Attributes:
        needs: For all of its workers together.
        gpus: Which ones it was given.
    """

    created_us: int
    run_id: str
    needs: Room
    placed: bool = False
    gpus: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of its file."""
        needs = f"{round(self.needs.vcpus * 1000)}.{self.needs.memory_mib}.{self.needs.gpus}"
        given = "+".join(map(str, self.gpus)) or "-"
        return f"{self.created_us:020d}.{self.run_id}.{needs}.{given}.{'placed' if self.placed else 'waiting'}"

    @classmethod
    def read(cls, name: str) -> "Ticket":
        """The ticket whose file has this name."""
        created, run_id, millicpus, memory, gpus, given, state = name.split(".")
        needs = Room(int(millicpus) / 1000, int(memory), int(gpus))
        numbers = tuple(map(int, given.split("+"))) if given != "-" else ()
        return cls(int(created), run_id, needs, state == "placed", numbers)


@dataclass(frozen=True)
class Placement:
    """The room that a run was given.

    Attributes:
        where: For people.
        gpus: For all of its workers, rank 0's first.
    """

    where: str
    gpus: tuple[int, ...]


def wait_for_turn(
    run_directory: Path,
    on_wait: Callable[[str], None],
    stopped: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> Placement | None:
    """Wait until the run fits and no earlier one waits.

    To be called by who holds the run's agent lock. The room is given back by `release`, or by that process's death.

    Args:
        run_directory: The run.
        on_wait: Told why it waits, once per change.
        stopped: Asked often; when true, the run leaves the queue.
        pause: Waits for that many seconds, or less when there may be news.

    Returns:
        None when it was stopped.
    """
    layout = RunLayout.of(run_directory)
    settings = read_json(layout.settings) or {}
    queue = Queue(layout.home, capacity(settings.get("vcpus"), settings.get("memory_mib")))
    queue.enter(ticket_of(run_directory))
    told = ""
    while not stopped():
        outcome = queue.place(layout.run_id)
        if isinstance(outcome, Placement):
            return outcome
        if outcome != told:
            told = outcome
            on_wait(told)
        queue.wait_for_change(stopped, pause)
    queue.leave(layout.run_id)
    return None


def enter(run_directory: Path) -> None:
    """Take the run's place in the queue, before its agent is there to ask for it: nobody may overtake it meanwhile.

    To be called by who holds the run's agent lock, which the agent is to inherit.
    """
    layout = RunLayout.of(run_directory)
    Queue(layout.home, Room(0, 0, 0)).enter(ticket_of(run_directory))


def release(run_directory: Path) -> None:
    """Give the run's room back, when its workers are gone; twice is fine."""
    layout = RunLayout.of(run_directory)
    Queue(layout.home, Room(0, 0, 0)).leave(layout.run_id)


def ticket_of(run_directory: Path) -> Ticket:
    """What the run asks for."""
    run = read_json(RunLayout.of(run_directory).summary)
    if run is None:
        raise FileNotFoundError(run_directory)
    needs = Room(run["vcpus"], run["memory_mib"], run["gpus"]).times(run["workers"])
    return Ticket(run["created_us"], run["run_id"], needs)


class Queue:
    """The tickets of one home."""

    def __init__(self, home: Path, room: Room) -> None:
        self._home, self._room = home, room
        self._directory = home / "queue"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._seen = (0, 0.0)  # the directory's time of change at the last look, and when that was
        self._before_us: list[str] = []  # whose end would be news
        self._ahead = 0

    def enter(self, ticket: Ticket) -> None:
        """Wait from now on, unless it does already; the room that an earlier agent of the run had is given up."""
        with self._locked():
            if self._names(ticket.run_id) != [ticket.name]:
                self._drop(ticket.run_id)
                (self._directory / ticket.name).touch()

    def leave(self, run_id: str) -> None:
        """Neither wait nor hold room any more."""
        with self._locked():
            self._drop(run_id)

    def place(self, run_id: str) -> Placement | str:
        """Take the room if it is this run's turn; otherwise say why not."""
        with self._locked():
            self._seen = (os.stat(self._directory).st_mtime_ns, time.monotonic())
            tickets = self._tickets()
            mine = next((t for t in tickets if t.run_id == run_id), None) or self._enter_again(run_id)
            placed = [t for t in tickets if t.placed]
            ahead = [t for t in tickets if not t.placed and t < mine]
            while ahead and not self._lives(ahead[-1]):
                ahead.pop()
            if not ahead:
                placed = [t for t in placed if self._lives(t)]
            self._before_us, self._ahead = [t.run_id for t in ahead[-1:] or placed], len(ahead)
            free = self._room.less(t.needs for t in placed)
            if ahead or not mine.needs.fits(free):
                return self._reason(mine.needs, free, placed, len(ahead))
            taken = {number for t in placed for number in t.gpus}
            gpus = tuple(n for n in range(self._room.gpus) if n not in taken)[: mine.needs.gpus]
            os.rename(self._directory / mine.name, self._directory / replace(mine, placed=True, gpus=gpus).name)
        return Placement(f"{mine.needs} on {os.uname().nodename}", gpus)

    def wait_for_change(self, stopped: Callable[[], bool], pause: Callable[[float], None]) -> None:
        """Return when `place` may have another answer, or when stopped."""
        changed, looked = self._seen
        others = min(OTHERS_LOOK_SECONDS * (1 + self._ahead / _FEW), _LOOK_AGAIN_SECONDS)
        seconds = others if self._ahead else FIRST_LOOKS_SECONDS
        while not stopped() and time.monotonic() - looked < _LOOK_AGAIN_SECONDS:
            pause(seconds)
            if os.stat(self._directory).st_mtime_ns != changed:
                return
            if not all(agent_lock.is_held(self._lock_of(other)) for other in self._before_us):
                return

    def _enter_again(self, run_id: str) -> Ticket:
        """Who stopped the run just before it was launched may have taken its ticket for that of a run that is gone."""
        ticket = ticket_of(RunLayout(self._home, run_id).directory)
        (self._directory / ticket.name).touch()
        return ticket

    def _tickets(self) -> list[Ticket]:
        return sorted(
            Ticket.read(name) for name in os.listdir(self._directory) if name.endswith((".placed", ".waiting"))
        )

    def _lives(self, ticket: Ticket) -> bool:
        """Whether the ticket counts. A dead agent's is dropped, once nothing of its run is left."""
        with agent_lock.looking(self._lock_of(ticket.run_id)) as dead:
            if not dead:
                return True
            if ticket.placed and not self._end_processes(ticket.run_id):
                return True
            (self._directory / ticket.name).unlink(missing_ok=True)
            return False

    def _end_processes(self, run_id: str) -> bool:
        """End what a dead agent left running, as it would be ended anyway before its run goes on."""
        from blocks.cluster.processes import end_processes  # heavy, and hardly ever needed here

        return end_processes(RunLayout(self._home, run_id).directory, 0).remaining == 0

    def _names(self, run_id: str) -> list[str]:
        """The names of the run's tickets; there is one at most, unless somebody died while he changed it."""
        return [name for name in os.listdir(self._directory) if name.partition(".")[2].startswith(f"{run_id}.")]

    def _drop(self, run_id: str) -> None:
        for name in self._names(run_id):
            (self._directory / name).unlink(missing_ok=True)

    def _lock_of(self, run_id: str) -> Path:
        return RunLayout(self._home, run_id).lock

    def _reason(self, needs: Room, free: Room, placed: list[Ticket], ahead: int) -> str:
        queue = f"{ahead} run{' is' if ahead == 1 else 's are'} ahead" if ahead else ""
        short = needs.shortage(free, self._room)
        if not short:
            return f"waiting for its turn: {queue}"
        names = [self._title(t.run_id) for t in placed]
        users = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"waiting for {short} used by {users}" + (f"; {queue}" if queue else "")

    def _title(self, run_id: str) -> str:
        """The run's name for people: of its labels, the one that holds its id is its kind, as in `training: trn-1`."""
        labels = (read_json(RunLayout(self._home, run_id).summary) or {}).get("labels", {})
        kind = next((name for name, value in labels.items() if value == run_id), "run")
        return f"{kind} {labels.get('name', run_id)}"

    def _locked(self) -> AbstractContextManager[int]:
        return locked(self._directory / "lock")
