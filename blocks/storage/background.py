"""An event loop behind a plain iterator."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def from_event_loop(work: Callable[[Callable[[T], None]], Coroutine[object, object, None]]) -> Iterator[T]:
    """Run `work` on an event loop in a thread of its own, and yield what it emits as it comes.

    Its error is raised here. Closing the iterator early cancels the work and waits for its end.
    """
    emitted: queue.SimpleQueue[tuple[T] | None] = queue.SimpleQueue()
    failures: list[BaseException] = []
    cancel: list[Callable[[], None]] = []
    started = threading.Event()

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            cancel.append(lambda: _cancel(loop, task))
        started.set()
        await work(lambda item: emitted.put((item,)))

    def run() -> None:
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass  # by `finally` below: nobody reads any more
        except BaseException as error:  # raised again in the reader's thread
            failures.append(error)
        finally:
            started.set()
            emitted.put(None)

    thread = threading.Thread(target=run, name="makerflow-transfers", daemon=True)
    thread.start()
    try:
        while item := emitted.get():
            yield item[0]
        if failures:
            raise failures[0]
    finally:
        started.wait()
        for end in cancel:
            end()
        thread.join()


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(task.cancel)
