"""What workers write for TensorBoard, brought to where it is shown from when no worker can write there itself."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from blocks.connections.platform import Platform
from blocks.domain.errors import MakerflowError, PermanentError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import OutputKind, PlannedObject, RunPlan, Uploaded
from blocks.storage import transfer

BRING_SECONDS = 10.0
"""Sidecars upload about as often."""

SHARE_OF_TIME = 10
"""Between two copies passes so many times the time that one takes: a file that grows is fetched whole."""

LAST_SECONDS = 60.0
"""For the last copy of a run, behind one that takes long."""

MOST_BYTES = 2 << 30
"""Of one training, so that no training fills the disk of what shows it."""

logger = logging.getLogger("makerflow")


class EventsCopy:
    """Copies what is new of one training, one copy after the other: two would share what they have fetched.

    Args:
        platform: It opens the stores, if this account may read them.
        directory: Where it is shown from.
    """

    def __init__(self, platform: Platform, directory: Path) -> None:
        self._open, self._directory = platform.storage, directory
        self._copying = threading.Lock()
        self._over = threading.Event()
        self._brought: dict[str, PlannedObject] = {}
        self._missed = False
        self._warned = False

    def bring(self, uploaded: Uploaded) -> None:
        """Bring what was uploaded; behind a copy that takes long, `meanwhile` does so at its end.

        Raises:
            TransientError: A store does not answer.
        """
        place = StoragePath.parse(uploaded.path)
        if uploaded.output is not OutputKind.TENSORBOARD or place.scheme is Scheme.FILE:
            return
        if not self._copying.acquire(timeout=BRING_SECONDS):
            self._missed = True
            return
        try:
            self._copy(place, place.name if place.name.startswith("worker-") else "")
        except (PermanentError, OSError) as error:  # writing is all that the outputs ask for
            logger.warning("TensorBoard does not show what was written to %s: %s", place, error)
        finally:
            self._copying.release()

    @contextmanager
    def meanwhile(self, plan: RunPlan | None) -> Iterator[None]:
        """Bring what has been uploaded so far, again and again, while the block runs; `bring` brings the rest."""
        outputs = plan.outputs if plan else ()
        paths = [StoragePath.parse(output.path) for output in outputs if output.kind is OutputKind.TENSORBOARD]
        places = [path for path in paths if path.scheme is not Scheme.FILE]
        if not places:
            yield
            return
        thread = threading.Thread(target=self._bring_all, args=(places,), name="TensorBoard events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(LAST_SECONDS if self._missed else BRING_SECONDS)  # a store may hang
            if self._missed and thread.is_alive():
                logger.warning("TensorBoard does not show the last of what was written to %s: that takes long", places)

    def _bring_all(self, places: Sequence[StoragePath]) -> None:
        pause = BRING_SECONDS
        while not self._over.wait(pause) or self._missed:
            if self._over.is_set():
                self._missed = False
            began = monotonic()
            for place in places:
                self._try(place)
            pause = max(BRING_SECONDS, SHARE_OF_TIME * (monotonic() - began))

    def _try(self, place: StoragePath) -> None:
        with self._copying:
            try:
                self._copy(place)
            except (MakerflowError, OSError) as error:  # there may be nothing yet; at the end it is told
                logger.debug("Nothing is brought from %s: %s", place, error)

    def _copy(self, place: StoragePath, rank: str = "") -> None:
        """Fetch what is not here as it is there, the small first."""
        here = StoragePath.parse(f"file://{self._directory / rank}")
        there = sorted(self._open(place).plan(place), key=lambda each: each.size)
        for each in there:
            known = self._brought.get(each.path)
            if (known is None or known.etag != each.etag) and self._has_room(each, place):
                transfer.copy(StoragePath.parse(each.path), here / each.key, self._open, overwrite=True)
                self._brought[each.path] = each

    def _has_room(self, new: PlannedObject, place: StoragePath) -> bool:
        """Whether it is no more than one training may take; once, it is told what that means."""
        others = sum(each.size for path, each in self._brought.items() if path != new.path)
        fits = others + new.size <= MOST_BYTES
        if not fits and not self._warned:
            self._warned = True
            logger.warning(
                "TensorBoard shows only a part of what was written to %s: of one training at most %d GiB are copied to"
                " where it runs. All of it is at its place.",
                place,
                MOST_BYTES >> 30,
            )
        return fits
