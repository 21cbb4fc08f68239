"""Bulk downloads: many requests in flight, every byte verified, nothing lost when interrupted.

A small object is one request. A large one is fetched in parts, side by side, each resumed at the byte it reached; the
parts that are complete survive the process. Each request is pinned to the planned version by `If-Match`.

The bytes come on threads (`s3_quick.py`) while all goes well; here, on one event loop, where patience is needed.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obstore import get_async
from obstore.exceptions import BaseError, PreconditionError
from tenacity import AsyncRetrying

from blocks.domain.errors import InputChangedError, InputMissingError
from blocks.storage.arrivals import BUSY_SECONDS, SETTLE_SECONDS, Arrivals, ClaimedError
from blocks.storage.base import Progress
from blocks.storage.digests import PartDigest, digest_of_parts, is_md5
from blocks.storage.incoming import Incoming
from blocks.storage.patience import AttemptError, Patience, retrying
from blocks.storage.s3_errors import READ_OBJECT, asks_to_wait, bulk_error
from blocks.storage.s3_objects import Wanted, check_version, options_of
from blocks.storage.s3_quick import THREADS, QuickDownloads

if TYPE_CHECKING:
    from obstore.store import S3Store

_BLOCK = 1 << 20
_UNDIGESTED = "-"


@dataclass(frozen=True)
class Source:
    """Where the bytes come from, and who is asked when a download fails.

    Attributes:
        store: Waits as long as there is hope.
        quick_store: Gives up on a request soon.
        current_etag: The ETag that a key has now; empty when it is gone.
        retry_after: Seconds that the store wants us to stay away; asked when it says that it has too much to do.
        is_encrypted: Whether the store encrypts this key in a way that its ETag is no MD5.
    """

    store: "S3Store"
    quick_store: "S3Store"
    bucket: str
    current_etag: Callable[[str], str]
    retry_after: Callable[[str], float]
    is_encrypted: Callable[[str], bool]


@dataclass
class Downloads:
    """One call's downloads from one bucket."""

    source: Source
    arrivals: Arrivals
    patience: Patience
    progress: Progress
    _requests: asyncio.Semaphore = field(init=False)
    _quick: QuickDownloads = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _asking: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _not_before: float = field(init=False, default=0)

    async def run(self, wanted: Sequence[Wanted]) -> None:
        """Download all.

        Raises:
            MakerflowError: The first failure; what has arrived stays in the cache.
        """
        self._requests = asyncio.Semaphore(self.patience.requests)
        self._quick = QuickDownloads(self.source.quick_store, self.arrivals, self.progress)
        small = [one for one in wanted if one.planned.size <= self.patience.chunk_bytes]
        large = [one for one in wanted if one.planned.size > self.patience.chunk_bytes]
        with ThreadPoolExecutor(2 * THREADS, thread_name_prefix="makerflow-download") as self._pool:
            bringing = asyncio.ensure_future(_all([self._quickly(small), self._carefully(large)]))
            try:
                while not bringing.done():
                    await asyncio.wait([bringing], timeout=SETTLE_SECONDS)
                    await asyncio.to_thread(self.arrivals.settle)
                bringing.result()
            finally:
                self._quick.stopped.set()
                bringing.cancel()
                await asyncio.gather(bringing, return_exceptions=True)
        self.arrivals.settle()

    async def _quickly(self, wanted: Sequence[Wanted]) -> None:
        waiting, loop = iter(wanted), asyncio.get_running_loop()
        work = self._quick.work
        await asyncio.gather(*(loop.run_in_executor(self._pool, work, waiting) for _ in range(THREADS)))
        await self._carefully(self._quick.left)

    async def _carefully(self, wanted: Sequence[Wanted]) -> None:
        waiting = iter(wanted)
        await _all(self._work(waiting) for _ in range(min(self.patience.requests, len(wanted))))

    async def _work(self, waiting: Iterator[Wanted]) -> None:
        for wanted in waiting:
            incoming = await self._claim(wanted.address)
            if incoming:
                try:
                    digest = await self._bring(wanted, incoming)
                except BaseException:
                    incoming.close()
                    raise
                if self.arrivals.add(incoming, digest) or wanted.planned.size > self.patience.part_bytes:
                    await asyncio.to_thread(self.arrivals.settle)

    async def _claim(self, address: str) -> Incoming | None:
        while True:
            try:
                # Beside the event loop: making a file can take a file system as long as fetching a small object.
                return await asyncio.to_thread(self.arrivals.claim, address)
            except ClaimedError:
                await asyncio.sleep(BUSY_SECONDS)

    async def _bring(self, wanted: Wanted, incoming: Incoming) -> str:
        """Download and verify one object; its digest."""
        bring = self._whole if wanted.planned.size <= self.patience.part_bytes else self._in_parts
        etag = wanted.planned.etag
        found = ""
        for _ in range(2):  # damage on the way is mended by trying again, damage in the store is not
            digest = await bring(wanted, incoming)
            kind, _, found = digest.partition(":")
            if kind != "md5" or found == etag:
                return digest
            incoming.restart()
        if await asyncio.to_thread(self.source.is_encrypted, wanted.key):
            return await bring(wanted, incoming)
        raise InputChangedError(wanted.planned.path, f"MD5 {etag}", f"MD5 {found}")

    async def _whole(self, wanted: Wanted, incoming: Incoming) -> str:
        """One object that is no larger than a part."""
        digest = hashlib.new("md5" if is_md5(wanted.planned.etag) else "sha256", usedforsecurity=False)
        async with self._requests:
            await self._fill(wanted, incoming, 0, wanted.planned.size, digest.update)
        return f"{digest.name}:{digest.hexdigest()}"

    async def _in_parts(self, wanted: Wanted, incoming: Incoming) -> str:
        """One large object; what an interrupted download left is taken over."""
        size, part_bytes = wanted.planned.size, self.patience.part_bytes
        there = await asyncio.to_thread(_intact_parts, incoming, part_bytes)
        loop = asyncio.get_running_loop()
        parts: list[asyncio.Future[str]] = [loop.create_future() for _ in range(0, size, part_bytes)]
        for index, digest in there.items():
            parts[index].set_result(digest)
            self.progress(min(part_bytes, size - index * part_bytes))
        jobs = [self._part(wanted, incoming, index, parts[index]) for index in range(len(parts)) if index not in there]
        if is_md5(wanted.planned.etag):
            digests: list[str] = []
            await _all([*jobs, _md5_in_order(incoming, parts, part_bytes, digests)])
            return f"md5:{digests[0]}"
        await _all(jobs)
        return digest_of_parts(part_bytes, [part.result() for part in parts])

    async def _part(self, wanted: Wanted, incoming: Incoming, index: int, part: "asyncio.Future[str]") -> None:
        begin = index * self.patience.part_bytes
        end = min(begin + self.patience.part_bytes, wanted.planned.size)
        # Where there is an MD5 of the whole, it judges the parts too.
        digest = None if is_md5(wanted.planned.etag) else PartDigest()
        async with self._requests:
            await self._fill(wanted, incoming, begin, end, digest.update if digest else _ignore)
        said = digest.hexdigest() if digest else _UNDIGESTED
        incoming.add_part(index, said)
        part.set_result(said)

    async def _fill(
        self, wanted: Wanted, incoming: Incoming, begin: int, end: int, update: Callable[[bytes], None]
    ) -> None:
        """Bring the bytes from `begin` to `end`, over as many requests as it takes."""
        reached = await self._fill_quickly(wanted, incoming, begin, end, update)
        if begin < reached == end:
            return
        chunk_bytes = self.patience.chunk_bytes

        async def request() -> None:
            """One request. Patience starts anew with every byte: only a request that brought none has failed."""
            nonlocal reached, chunk_bytes
            began = reached
            try:
                async for data in self._request(wanted, reached, end, chunk_bytes):
                    await asyncio.to_thread(_write, incoming, data, reached, update)
                    reached += len(data)
                    self.progress(len(data))
                if reached < end:
                    raise AttemptError(f"the answer ended {end - reached} bytes early")
            except AttemptError:
                chunk_bytes = self.patience.slow_chunk_bytes
                if reached == began:
                    raise

        while True:
            retry = AsyncRetrying(**retrying(self.patience, wanted.planned.path))  # type: ignore[arg-type] # untyped
            await retry(request)
            if reached >= end:
                return

    async def _fill_quickly(
        self, wanted: Wanted, incoming: Incoming, begin: int, end: int, update: Callable[[bytes], None]
    ) -> int:
        """How far the quick way brought the bytes from `begin` to `end`."""
        own = os.dup(incoming.descriptor)  # who is cancelled closes theirs while the thread may still be writing
        job = self._pool.submit(self._quick.fill, wanted, own, begin, end, update)
        job.add_done_callback(lambda _: os.close(own))
        return await asyncio.wrap_future(job)

    async def _request(self, wanted: Wanted, offset: int, end: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The bytes of one request; `chunk_bytes` must come within each `stall_seconds`."""
        await asyncio.sleep(max(0.0, self._not_before - asyncio.get_running_loop().time()))
        options = options_of(wanted.planned, (offset, end))
        try:
            async with asyncio.timeout(self.patience.answer_seconds):
                answer = await get_async(self.source.store, wanted.key, options=options)
            check_version(wanted.planned, answer)
            stream = answer.stream(min(chunk_bytes, max(1, end - offset)))
            while True:
                async with asyncio.timeout(self.patience.stall_seconds):
                    data = await anext(stream, None)
                if data is None:
                    return
                yield data
        except TimeoutError as error:
            raise AttemptError(f"the store stalled at byte {offset} of {wanted.planned.path}") from error
        except (BaseError, FileNotFoundError) as error:
            raise await self._failure(wanted, error) from error

    async def _failure(self, wanted: Wanted, error: Exception) -> Exception:
        """What to raise for a client's error."""
        failure = bulk_error(error, wanted.planned.path, self.source.bucket, READ_OBJECT)
        if isinstance(failure, AttemptError) and asks_to_wait(failure):
            return AttemptError(failure.reason, await self._asked_to_wait(wanted.key))
        if isinstance(error, PreconditionError) or "status code: 416" in str(error):
            found = await asyncio.to_thread(self.source.current_etag, wanted.key)
            if not found:
                return InputMissingError(wanted.planned.path, "it is gone")
            if found == wanted.planned.etag:
                return AttemptError("the store denied the version that it has")
            return InputChangedError(wanted.planned.path, f"ETag {wanted.planned.etag}", f"ETag {found}")
        return failure

    async def _asked_to_wait(self, key: str) -> float:
        """Seconds until the store wants to hear of us again: one request asks, and all wait."""
        clock = asyncio.get_running_loop().time
        async with self._asking:
            if clock() >= self._not_before:
                asked = await asyncio.to_thread(self.source.retry_after, key)
                self._not_before = clock() + min(asked, self.patience.longest_wait_seconds)
        return max(0.0, self._not_before - clock())


async def _all(jobs: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all; the first failure ends the others."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _md5_in_order(
    incoming: Incoming, parts: "Sequence[asyncio.Future[str]]", part_bytes: int, digests: list[str]
) -> None:
    """The MD5 of the whole, part after part as they arrive."""
    digest = hashlib.md5(usedforsecurity=False)
    for index, part in enumerate(parts):
        await part
        await asyncio.to_thread(_digest_part, incoming, index * part_bytes, part_bytes, digest.update)
    digests.append(digest.hexdigest())


def _intact_parts(incoming: Incoming, part_bytes: int) -> dict[int, str]:
    """The parts of an interrupted download whose bytes are still those that arrived, or are judged later."""
    intact = {}
    for index, expected in incoming.resume(part_bytes).items():
        if expected == _UNDIGESTED:
            intact[index] = expected
            continue
        digest = PartDigest()
        _digest_part(incoming, index * part_bytes, part_bytes, digest.update)
        if digest.hexdigest() == expected:
            intact[index] = expected
    return intact


def _digest_part(incoming: Incoming, begin: int, size: int, update: Callable[[bytes], None]) -> None:
    end = begin + size
    while begin < end and (data := incoming.read(min(_BLOCK, end - begin), begin)):
        update(data)
        begin += len(data)


def _ignore(data: bytes) -> None:
    pass


def _write(incoming: Incoming, data: bytes, offset: int, update: Callable[[bytes], None]) -> None:
    incoming.write(data, offset)
    update(data)
