"""The log store's interface: what keeps lines, and finds them again."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.domain.log_records import LogEntry, LogRecord, LogSource


@dataclass(frozen=True)
class LogCursor:
    """How far something has been read into the store.

    Attributes:
        offset: In the words of what is read: a byte of a stream, a number of a sequence.
        state: What the reader needs to go on.
    """

    offset: int = 0
    state: str = ""


BEGINNING = LogCursor()


@dataclass(frozen=True)
class Reading:
    """Entries that were read of something, and the step of the cursor that they stand for.

    Attributes:
        key: What was read; unique in the store.
        since: Where reading began: the cursor that the store has for the key.
        until: Where the next reading begins.
        by_platform: Whether the platform itself says it, for which there is always room.
    """

    key: str
    since: LogCursor
    until: LogCursor
    entries: Sequence[LogEntry]
    by_platform: bool = False


@dataclass(frozen=True)
class LogPage:
    """Records that were found, the newest first.

    Attributes:
        cursor: Leads to older ones; empty when there are none.
        not_searched: Names of what may hold more, but is damaged.
    """

    records: tuple[LogRecord, ...]
    cursor: str = ""
    not_searched: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogUsage:
    """What the store holds.

    Attributes:
        oldest_day: As in 2026-11-23; empty when it holds nothing.
        newest_day: The same.
        damaged: Names of what cannot be searched any more; it counts among the bytes.
    """

    records: int
    bytes: int
    oldest_day: str = ""
    newest_day: str = ""
    damaged: tuple[str, ...] = ()


class LogStore(ABC):
    """Keeps lines with the fields by which they are found. Safe for threads, and for many processes at once."""

    @abstractmethod
    def cursors(self, prefix: str) -> Mapping[str, LogCursor]:
        """The cursors of all keys with this prefix; a key that nothing was appended for has none."""

    @abstractmethod
    def append(self, source: LogSource, reading: Reading) -> None:
        """Keep what was read together with its cursor: all of it or nothing, exactly once.

        What it kept is found by whoever searches next. A character that is none becomes `?`, and NUL a sign for it.
        Where the store is damaged, the damage is set aside with a warning; cursors may go back by that, so that what
        is still there to be read is kept anew.

        Raises:
            ConcurrentUpdateError: Somebody else has moved the cursor: ask for it, and read from there.
            LogStoreUnavailableError: Nothing was kept; trying again may help.
            LogStoreFullError: Nothing was kept: today there is no more room for lines of this source.
            LogStoreUnusableError: Nothing was kept, and somebody has to mend the store first.
        """

    @abstractmethod
    def search(
        self,
        query: str,
        *,
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str = "",
    ) -> LogPage:
        """The newest records that match.

        Args:
            query: As `query.parse_query` takes it; empty for all.
            limit: How many, at most.
            since: Only those kept at this time or later.
            until: Only those kept before this time.
            cursor: `LogPage.cursor` of the page before.

        Raises:
            InvalidInputError: The query or the cursor is refused; it says where and why, and what is allowed.
        """

    @abstractmethod
    def tail(self, after: str, limit: int) -> Sequence[LogRecord]:
        """The records after a position in the order in which they were kept; from the first with an empty position.

        Raises:
            InvalidInputError: No record can be at that position.
        """

    @abstractmethod
    def expired(self, keep_days: int, keep_bytes: int) -> list[str]:
        """The days that are to go, the oldest first, as in 2026-11-23; never today.

        Those that are over for more than `keep_days` days, then as many as are above `keep_bytes`.
        """

    @abstractmethod
    def remove(self, day: str) -> None:
        """Remove what was kept on a day; twice is fine. Cursors stay for as long as a training may last."""

    @abstractmethod
    def usage(self) -> LogUsage:
        """What it holds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files that are open; they are opened again when they are needed."""
