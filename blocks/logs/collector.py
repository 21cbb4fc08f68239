"""Requests to an HTTP collector, each with one bound on all of it: looking up the name, connecting, sending, answering.

The HTTP client's own timeouts begin anew with every byte, so that a collector which drips would hold up for ever.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from blocks.domain.errors import LogCollectorUnavailableError
from blocks.domain.log_records import LogRecord

REQUEST_SECONDS = 30.0
GRACE_SECONDS = 2.0
"""What a request gets at least, and what one under way may still take when all is to end."""

_LOOK_SECONDS = 0.1


class Collector:
    """An open collector; `open_collector` makes one.

    Args:
        url: Takes records by POST.
        end: Of the monotonic clock: when no request is to be under way any more, but for `GRACE_SECONDS`.
        over: Set it to end at once, but for the same.
    """

    def __init__(
        self, portal: BlockingPortal, client: httpx.AsyncClient, url: str, end: float, over: threading.Event
    ) -> None:
        self._portal = portal
        self._client = client
        self._url = url
        self._end = end
        self._over = over

    def send(self, records: Sequence[LogRecord]) -> int:
        """Send records as an array of JSON documents; the status of the answer.

        Raises:
            LogCollectorUnavailableError: There was no answer, or none in time.
        """
        seconds = min(REQUEST_SECONDS, max(self._end - time.monotonic(), GRACE_SECONDS))
        answer = self._portal.start_task_soon(self._post, [record.document() for record in records])
        self._await(answer, seconds)
        answer.cancel()  # which one that is done does not mind
        try:
            return answer.result()
        except httpx.HTTPError as error:
            raise LogCollectorUnavailableError(self._url, f"{type(error).__name__}: {error}") from error
        except CancelledError as error:
            raise LogCollectorUnavailableError(self._url, "it did not answer in time") from error

    def _await(self, answer: Future[int], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not answer.done() and time.monotonic() < end:
            wait((answer,), _LOOK_SECONDS)
            if self._over.is_set():
                end = min(end, time.monotonic() + GRACE_SECONDS)

    async def _post(self, documents: list[dict[str, str]]) -> int:
        return (await self._client.post(self._url, json=documents)).status_code


@contextmanager
def open_collector(url: str, authorization: str, end: float, over: threading.Event) -> Iterator[Collector]:
    """A collector with a thread of its own for its connections."""
    headers = {"Authorization": authorization} if authorization else {}
    client = httpx.AsyncClient(headers=headers, timeout=None)  # noqa: S113 - each request has a bound on all of it
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield Collector(portal, client, url, end, over)
