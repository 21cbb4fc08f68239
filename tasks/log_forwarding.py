"""Sending the log store's records to a collector while a training goes on, and what is left when it is over."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from blocks.connections.platform import Platform
from blocks.domain.errors import MakerflowError
from blocks.logs.forwarding import Forwarder

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 300.0
"""Within one call, through which the pauses between two attempts grow."""

LEFT_SECONDS = 5.0
"""For so long may what is left hold up a training that is over."""

logger = logging.getLogger("makerflow")


@contextmanager
def forwarded_meanwhile(platform: Platform) -> Iterator[None]:
    """Send records in a thread of its own while the block runs, when the settings name a collector."""
    forwarder = platform.log_forwarder
    if forwarder is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_forward_until, args=(forwarder, over), name="log forwarder")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def forward_logs(platform: Platform) -> int:
    """Send what is left; how many records were sent. What stands in the way is a warning."""
    if platform.log_forwarder is None:
        return 0
    try:
        return platform.log_forwarder.forward(LEFT_SECONDS)
    except MakerflowError as error:
        logger.warning("%s", error)
        return 0


def _forward_until(forwarder: Forwarder, over: threading.Event) -> None:
    told = ""
    while not over.is_set():
        try:
            forwarder.forward(PATIENCE_SECONDS, over)
            told = ""
        except MakerflowError as error:
            if str(error) != told and not over.is_set():
                logger.warning("%s", error)
                told = str(error)
        over.wait(LOOK_SECONDS)
