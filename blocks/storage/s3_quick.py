"""The quick way, while all goes well: a thread asks, waits, writes and digests without an event loop.

It takes half of the processor time of the careful way in `s3_download.py`, which counts for ten thousand small objects
and for gigabytes. It decides nothing: whatever goes wrong is left to the careful way, which goes on where it ended.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import new
from typing import TYPE_CHECKING

from obstore import get
from obstore.exceptions import BaseError

from blocks.storage.arrivals import Arrivals, ClaimedError
from blocks.storage.base import Progress
from blocks.storage.digests import is_md5
from blocks.storage.incoming import Incoming, write_all
from blocks.storage.s3_objects import Wanted, is_as_planned, options_of

if TYPE_CHECKING:
    from obstore.store import S3Store

THREADS = 8
_READ_BYTES = 1 << 18
"""Of a range at once. The memory of larger reads goes back to the kernel after each, which costs more than it saves."""

_HICCUPS = 8
"""After so many failures the store is not well, and the careful way is the better one."""


@dataclass
class QuickDownloads:
    """Small objects, and ranges of larger ones, of one bucket.

    Attributes:
        store: Gives up on a request soon.
        left: What the careful way has to do; complete once all workers have returned.
        stopped: Ends the workers after the object or the read that each has in hand.
    """

    store: "S3Store"
    arrivals: Arrivals
    progress: Progress
    left: list[Wanted] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0

    def work(self, waiting: Iterator[Wanted]) -> None:
        """One thread's work, shared with others that take from the same iterator."""
        for wanted in waiting:
            if not self._goes_well() or not self._bring(wanted):
                self.left.append(wanted)

    def fill(self, wanted: Wanted, descriptor: int, begin: int, end: int, update: Callable[[bytes], None]) -> int:
        """Write the bytes from `begin` to `end` to an open file, in one request; the end of those that are there."""
        reached = begin
        try:
            if self._goes_well():
                answer = get(self.store, wanted.key, options=options_of(wanted.planned, (begin, end)))
                if is_as_planned(wanted.planned, answer):
                    for data in answer.stream(_READ_BYTES):
                        if self.stopped.is_set():
                            break
                        write_all(descriptor, data, reached)
                        update(data)
                        reached += len(data)
                        self.progress(len(data))
        except (BaseError, FileNotFoundError):
            pass
        self._failures += reached < end
        return reached

    def _goes_well(self) -> bool:
        return not self.stopped.is_set() and self._failures < _HICCUPS

    def _bring(self, wanted: Wanted) -> bool:
        try:
            incoming = self.arrivals.claim(wanted.address)
        except ClaimedError:
            return False
        if incoming is None:
            return True
        try:
            digest = self._download(wanted, incoming)
        except BaseException:
            incoming.close()
            raise
        if digest is None:
            self._failures += 1
            incoming.close()
            return False
        if self.arrivals.add(incoming, digest):
            self.arrivals.settle()
        return True

    def _download(self, wanted: Wanted, incoming: Incoming) -> str | None:
        """The digest of the object; None when anything was not as it should be."""
        planned = wanted.planned
        try:
            answer = get(self.store, wanted.key, options=options_of(planned))
            data = memoryview(answer.bytes())
        except (BaseError, FileNotFoundError):
            return None
        digest = new("md5" if is_md5(planned.etag) else "sha256", data, usedforsecurity=False)
        right = is_as_planned(planned, answer) and len(data) == planned.size
        if not right or (digest.name == "md5" and digest.hexdigest() != planned.etag):
            return None
        incoming.write(data, 0)
        self.progress(len(data))
        return f"{digest.name}:{digest.hexdigest()}"
