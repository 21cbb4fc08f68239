"""Bringing a training's output into the log store: every worker's lines and the platform's own events, exactly once.

Of a tuning it is what the platform says of it; what its trials print is theirs.

A cursor of each worker's output, of the run's events and of the status history is kept in the same transaction as the
lines. So whoever follows the training next goes on where the last one ended, however that ended.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from blocks.cluster.base import Selector
from blocks.connections.platform import Platform
from blocks.domain.errors import (
    ConcurrentUpdateError,
    LogStoreFullError,
    MakerflowError,
    NotFoundError,
    PermanentError,
)
from blocks.domain.log_levels import LevelReader
from blocks.domain.log_records import TRAINING_CATEGORY, LogEntry, LogSource
from blocks.domain.plan import Exited, Finished, RunEvent, RunHandle
from blocks.logs.base import BEGINNING, LogCursor, LogStore, Reading
from blocks.registry.records import Training, Tuning
from blocks.registry.tunings import PREFIX as TUNING_PREFIX
from tasks.log_events import event_entries, move_entries
from tasks.log_forwarding import forward_logs, forwarded_meanwhile
from tasks.output_reading import OutputReader

LOOK_SECONDS = 0.5
TRY_AGAIN_SECONDS = 5.0
CHUNK_BYTES = 2**19
BODY_CHARACTERS = 2**16
PLATFORM = ("events", "history")
"""What of a training the platform says, as a cursor's name has it; a worker's output is named by its rank."""

NICENESS = 19
"""Collecting takes what processor time the workers leave."""

_from_where_the_cursor_is = retry(
    retry=retry_if_exception_type(ConcurrentUpdateError), stop=stop_after_attempt(3), reraise=True
)
"""Somebody else may collect too, and a cursor goes back when the store has set aside what was damaged."""

_COLOUR = re.compile(r"\x1b\[[0-9:;]*m")
"""Before a word it would be a part of it, for searching and for the level."""

logger = logging.getLogger("makerflow")


def collect_logs(platform: Platform, row: Training, handle: RunHandle) -> None:
    """Bring what is left of the output into the log store: to be done before the run is removed.

    Raises:
        TransientError: The store, the registry or the cluster did not answer.
    """
    store = _store_of(platform, row)
    if store is None:
        return
    try:
        Collection(platform, row, handle, store).collect()
    except PermanentError as error:
        logger.warning("The log store does not have all lines of %s, the logs at its output do: %s", row.name, error)
    finally:
        store.close()


@contextmanager
def collected_meanwhile(platform: Platform, row: Training, handle: RunHandle) -> Iterator[None]:
    """Bring output into the log store while the block runs, in a thread of its own that gives way to everybody."""
    store = _store_of(platform, row)
    if store is None:
        yield
        return
    collection = Collection(platform, row, handle, store)
    thread = threading.Thread(target=_collect_until_over, args=(collection,), name=f"logs of {row.id}")
    thread.start()
    try:
        with forwarded_meanwhile(platform):
            yield
    finally:
        collection.over.set()
        thread.join()
        store.close()


@contextmanager
def history_logged(platform: Platform, id: str) -> Iterator[None]:
    """Bring the moves of its status, or of a tuning's, into the log store when the block ends, however it does."""
    try:
        yield
    finally:
        log_history(platform, id)


def log_history(platform: Platform, id: str) -> None:
    """Bring the moves of its status so far into the log store; what stands in the way is a warning."""
    try:
        row = _row_of(platform, id)
        store = _store_of(platform, row)
        if store is not None:
            Collection(platform, row, RunHandle(cluster="", run_id=row.id), store).collect_history()
            store.close()
            forward_logs(platform)
    except MakerflowError as error:
        logger.warning("The log store does not know yet how %s went on: %s", id, error)


class Collection:
    """What of one training is in the log store, and the way of the rest into it. For one thread.

    Attributes:
        name: The training's.
        over: Set it from anywhere to end early; what is left can be brought over later.
    """

    def __init__(self, platform: Platform, row: Training | Tuning, handle: RunHandle, store: LogStore) -> None:
        self.name = row.name
        self._platform = platform
        self._row = row
        self._handle = handle
        self._output = OutputReader(platform, handle)
        self._store = store
        self._cursors: dict[str, LogCursor] | None = None
        self._no_room_before = 0.0
        self._told = ""
        self.over = threading.Event()

    @_from_where_the_cursor_is
    def collect(self) -> None:
        """Everything that is there now.

        Raises:
            TransientError: The store, the registry or the cluster did not answer.
            PermanentError: The store is damaged.
        """
        for _ in self.follow(idle_seconds=0):
            break
        self._collect_moves()

    def follow(self, idle_seconds: float) -> Iterator[None]:
        """Bring over whatever comes; yields when nothing has come for so long, and ends with the run.

        Raises:
            TransientError: The store, the registry or the cluster did not answer; following again goes on.
            PermanentError: The store is damaged.
        """
        self.collect_history()
        known = {self._handle.run_id: self._cursor("events").offset}
        selector = Selector(run_id=self._handle.run_id)
        for event in self._platform.cluster.watch(selector, known, idle_seconds=idle_seconds):
            self._collect_output()
            if event is None:
                yield
            else:
                self._collect_event(event)
            if isinstance(event, Finished):
                self._collect_output()
                return

    @_from_where_the_cursor_is
    def collect_history(self) -> None:
        """The moves of its status that are not known yet."""
        self._cursors = None  # somebody else may have brought over something meanwhile
        self._collect_moves()

    def _collect_moves(self) -> None:
        since = self._cursor("history")
        moves = self._platform.registry.trainings.history(self._row.id)
        if len(moves) > since.offset:
            new = [move for move in moves[since.offset :] if not move.is_restart]  # its event is told
            self._append("", "history", LogCursor(len(moves)), move_entries(new))

    def _collect_event(self, event: RunEvent) -> None:
        entries = event_entries(event)
        if entries:
            rank = str(event.record.rank) if isinstance(event, Exited) else ""
            self._append(rank, "events", LogCursor(event.sequence), entries)
            self._collect_moves()

    def _collect_output(self) -> None:
        """All workers in turn, a piece at a time, until there is nothing more.

        Where there is no room for it today, what the platform says goes on alone.
        """
        if time.monotonic() < self._no_room_before:
            return
        try:
            with suppress(NotFoundError):  # not launched yet, or removed, which it is once all of it was collected
                while self._collect_round() and not self.over.is_set():
                    pass
        except LogStoreFullError as error:
            self._no_room_before = time.monotonic() + TRY_AGAIN_SECONDS
            self._tell(error)

    def _tell(self, error: LogStoreFullError) -> None:
        """Once a day."""
        if self._told != error.where:
            self._told = error.where
            logger.warning("The log store lacks lines of %s, which the logs at its output have: %s", self.name, error)

    def _collect_round(self) -> bool:
        """A piece of each worker's output; whether there was any."""
        found = [self._collect_piece(rank) for rank in range(self._row.spec.instances.workers)]
        return any(found)

    def _collect_piece(self, rank: int) -> bool:
        """The next piece of a worker's output; whether there was one."""
        since = self._cursor(str(rank))
        data, offset = self._output.read(rank, since.offset, CHUNK_BYTES)
        if offset == since.offset:
            return False
        reader = LevelReader(since.state)
        entries = list(reader.read(lines_of(data)))
        self._append(str(rank), str(rank), LogCursor(offset, reader.state), entries)
        return True

    def _cursor(self, what: str) -> LogCursor:
        if self._cursors is None:
            self._cursors = dict(self._store.cursors(f"{self._row.id}/"))
        return self._cursors.get(f"{self._row.id}/{what}", BEGINNING)

    def _append(self, rank: str, what: str, until: LogCursor, entries: Sequence[LogEntry]) -> None:
        source = _source_of(self._row, rank, self._platform.settings.app_key)
        reading = Reading(f"{self._row.id}/{what}", self._cursor(what), until, entries, what in PLATFORM)
        self._store.append(source, reading)
        self._cursors = {**(self._cursors or {}), reading.key: until}


def _collect_until_over(collection: Collection) -> None:
    """The thread. What goes wrong is tried again later, at the latest before the run is removed."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    told = ""
    while not collection.over.is_set():
        try:
            for _ in collection.follow(LOOK_SECONDS):
                if collection.over.is_set():
                    break
            return
        except MakerflowError as error:
            if str(error) != told:
                logger.warning("Lines of %s come into the log store later: %s", collection.name, error)
                told = str(error)
            collection.over.wait(TRY_AGAIN_SECONDS)


def _row_of(platform: Platform, id: str) -> Training | Tuning:
    registry = platform.registry
    return registry.tunings.get(id) if id.startswith(f"{TUNING_PREFIX}-") else registry.trainings.get(id)


def _source_of(row: Training | Tuning, rank: str, app_key: str) -> LogSource:
    if isinstance(row, Tuning):
        return LogSource(app_key, TRAINING_CATEGORY, tuning_id=row.id)
    return LogSource(
        app_key,
        TRAINING_CATEGORY,
        training_id=row.id,
        training_name=row.name,
        rank=rank,
        tuning_id=row.tuning_id or "",
        trial=row.name.rpartition("/")[2] if row.tuning_id else "",
    )


def _store_of(platform: Platform, row: Training | Tuning) -> LogStore | None:
    """The log store that keeps its lines; None when none does."""
    return platform.log_store if row.spec.limits.log_management else None


def lines_of(data: bytes) -> Iterator[str]:
    """The lines of a piece of output without their colours; one that is too long in pieces."""
    text = data.decode(errors="replace").removesuffix("\n")
    for line in (_COLOUR.sub("", text) if "\x1b" in text else text).split("\n"):
        if len(line) <= BODY_CHARACTERS:
            yield line
        else:
            yield from (line[at : at + BODY_CHARACTERS] for at in range(0, len(line), BODY_CHARACTERS))
