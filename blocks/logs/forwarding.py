"""Sending what the log store keeps to an HTTP collector as well: each record at least once, in order.

How far it was sent is kept beside the store, so that whoever sends next goes on from there. One process sends at a
time; the others have nothing to do.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from blocks.domain.errors import InvalidInputError, LogCollectorUnavailableError, LogStoreUnavailableError
from blocks.domain.log_records import LogRecord
from blocks.locks import try_lock
from blocks.logs.base import LogStore
from blocks.logs.collector import Collector, open_collector

BATCH = 1000
LONGEST_PAUSE_SECONDS = 15.0
_POSITION_BYTES = 64
_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What a collector answers to a batch that is too large, or holds something that it never takes."""

logger = logging.getLogger("makerflow")


class Forwarder:
    """Sends a store's records to a collector, as arrays of JSON documents with the fields of LOG-02.

    Args:
        store: Whose records.
        place: A file that keeps how far they were sent; its directory exists once something was kept.
        url: Takes them by POST and answers with a status of 2xx.
        authorization: The value of the Authorization header; empty for none.
    """

    def __init__(self, store: LogStore, place: Path, url: str, authorization: str = "") -> None:
        self._store = store
        self._place = place
        self._url = url
        self._authorization = authorization

    def forward(self, seconds: float, over: threading.Event | None = None) -> int:
        """Send what was not sent yet; how many records that was, 0 also while somebody else is sending.

        Args:
            seconds: It ends after so long and `collector.GRACE_SECONDS`, whatever the collector does. What is left is
                sent by the next call, here or elsewhere.
            over: Set it to end at once, or after the same.

        Raises:
            LogCollectorUnavailableError: The collector took nothing for so long.
            LogStoreUnavailableError: The store, or how far it was sent, could not be read or written.
        """
        over = over or threading.Event()
        end, sent = time.monotonic() + seconds, 0
        with _position(self._place) as position:
            records = self._unsent(position) if position else ()
            if position is None or not records:
                return 0
            with open_collector(self._url, self._authorization, end, over) as collector:
                while records:
                    self._send_patiently(collector, records, end, over)
                    position.set(records[-1].position)
                    sent += len(records)
                    is_over = over.is_set() or time.monotonic() >= end
                    records = () if is_over else self._store.tail(position.get(), BATCH)
        return sent

    def _unsent(self, position: "_Position") -> Sequence[LogRecord]:
        """The first records that were not sent; all that there are, where nobody can tell any more."""
        try:
            return self._store.tail(position.get(), BATCH)
        except InvalidInputError:
            logger.warning(
                "%s is damaged, which tells what the log collector has: it is sent all that the log store keeps, anew",
                self._place,
            )
            position.set("")
            return self._store.tail("", BATCH)

    def _send_patiently(
        self, collector: Collector, records: Sequence[LogRecord], end: float, over: threading.Event
    ) -> None:
        attempts = Retrying(
            retry=retry_if_exception_type(LogCollectorUnavailableError),
            wait=wait_exponential(multiplier=0.5, max=LONGEST_PAUSE_SECONDS) + wait_random(0, 0.5),
            stop=stop_before_delay(max(end - time.monotonic(), 0)) | stop_when_event_set(over),
            sleep=sleep_using_event(over),
            reraise=True,
        )
        attempts(self._send, collector, records)

    def _send(self, collector: Collector, records: Sequence[LogRecord]) -> None:
        """Send a batch; what is refused in it is found by halving, and left out with a warning."""
        status = collector.send(records)
        if status in _REFUSED and len(records) > 1:
            middle = len(records) // 2
            self._send(collector, records[:middle])
            self._send(collector, records[middle:])
        elif status in _REFUSED:
            logger.warning("The log collector %s refuses a record (%s): %s", self._url, status, records[0].position)
        elif not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise LogCollectorUnavailableError(self._url, f"it answers {status}")


class _Position:
    """How far the records were sent, in a file that is locked meanwhile."""

    def __init__(self, place: Path, descriptor: int) -> None:
        self._place = place
        self._descriptor = descriptor

    def get(self) -> str:
        with _usable(self._place):
            return os.pread(self._descriptor, _POSITION_BYTES, 0).decode(errors="replace").strip()

    def set(self, position: str) -> None:
        """In one write of one length, so that no reader after a crash finds half of it."""
        with _usable(self._place):
            os.pwrite(self._descriptor, position.ljust(_POSITION_BYTES).encode(), 0)


@contextmanager
def _position(place: Path) -> Iterator[_Position | None]:
    """The position; None while somebody else has it, or before there is a store."""
    try:
        with _usable(place):
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        yield None
        return
    try:
        with _usable(place):
            is_ours = try_lock(descriptor)
        yield _Position(place, descriptor) if is_ours else None
    finally:
        os.close(descriptor)


@contextmanager
def _usable(place: Path) -> Iterator[None]:
    """A disk that is full, or a file of somebody else, is told as what may pass."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LogStoreUnavailableError(str(place), error.strerror or str(error)) from error
