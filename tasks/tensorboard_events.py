"""What workers write for TensorBoard, brought to where it is shown from when no worker can write there itself."""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks.connections.platform import Platform
from blocks.domain.errors import MakerflowError, PermanentError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import OutputKind, PlannedObject, Uploaded
from blocks.registry.records import Training
from blocks.storage import transfer
from tasks.planning import events_directory

BRING_SECONDS = 10.0
"""Sidecars upload about as often."""

logger = logging.getLogger("makerflow")


def bring_events(platform: Platform, uploaded: Uploaded, directory: Path) -> None:
    """Have what workers wrote for TensorBoard where it is shown from, if this account may read it.

    Raises:
        TransientError: A store does not answer.
    """
    place = StoragePath.parse(uploaded.path)
    if uploaded.output is OutputKind.TENSORBOARD and place.scheme is not Scheme.FILE:
        rank = place.name if place.name.startswith("worker-") else ""
        try:
            _copy(platform, place, directory, rank)
        except PermanentError as error:  # writing is all that the outputs ask for
            logger.warning("TensorBoard does not show what was written to %s: %s", place, error)


@contextmanager
def events_brought_meanwhile(platform: Platform, row: Training) -> Iterator[None]:
    """Bring what has been uploaded so far, again and again, while the block runs; `bring_events` brings the rest."""
    outputs = row.plan.outputs if row.plan else ()
    paths = [StoragePath.parse(output.path) for output in outputs if output.kind is OutputKind.TENSORBOARD]
    places = [path for path in paths if path.scheme is not Scheme.FILE]
    if not places:
        yield
        return
    over = threading.Event()

    def bring() -> None:
        brought: dict[StoragePath, list[PlannedObject]] = {}
        while not over.wait(BRING_SECONDS):
            for place in places:
                with suppress(MakerflowError, OSError):  # there may be nothing yet; at the end it is told
                    there = platform.storage(place).plan(place)
                    if brought.get(place) != there:
                        _copy(platform, place, events_directory(platform, row))
                        brought[place] = there

    thread = threading.Thread(target=bring, name=f"TensorBoard events of {row.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(BRING_SECONDS)  # a store may hang


def _copy(platform: Platform, place: StoragePath, directory: Path, rank: str = "") -> None:
    """One copy after the other: two would share what they have fetched, and the older one could come last."""
    here = StoragePath.parse(f"file://{directory / rank}")
    with _copying[directory]:
        transfer.copy(place, here, platform.storage, recursive=True, overwrite=True)


_copying: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
