"""Keeps a worker that was given up from uploading over what its successor uploads.

To Kubernetes a node is lost that does not answer; what runs there may live on, and reach the store. So an attempt after
the first leaves a mark of its number beside the log before any worker of it starts, and who uploads looks for such
marks first, and every few seconds on the way: a fencing token (M. Kleppmann, How to do distributed locking, 2016) that
who writes checks, as stores do not. What is being sent at that moment still arrives; on a NAS a mark may be seen a
minute late.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from blocks.domain.errors import (
    AccessDeniedError,
    InputMissingError,
    PermanentError,
    TransientError,
    UnknownStoreError,
)
from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput, RunPlan
from blocks.launcher.outputs import outputs_of
from blocks.launcher.stores import Stores
from blocks.storage.base import LocalFile, Progress, Storage, Uploaded

ATTEMPTS = "attempts"
"""The folder of the marks, in that of the log."""

CHECK_SECONDS = 5.0
"""Between two looks for marks during one upload."""

_UNSEEN = (AccessDeniedError, InputMissingError, UnknownStoreError)
"""An account that may write need not be allowed to look; a place that cannot be had keeps nothing but the log."""


class SupersededError(PermanentError):
    """A later attempt of the run has begun."""

    def __init__(self, attempt: int, later: int) -> None:
        self.attempt, self.later = attempt, later
        super().__init__(f"Attempt {later} has taken the place of attempt {attempt}, of which nothing is uploaded now.")


class Fence:
    """The marks of one life of a run.

    Args:
        plan: It says where the log goes; a run without a log has no marks.
        stores: Where the marks are.
        life: By which the marks of this run differ from those of an earlier one with the same places.
        attempt: This one.
    """

    def __init__(self, plan: RunPlan, stores: Stores, life: str, attempt: int) -> None:
        self._outputs = outputs_of(plan, OutputKind.LOG)[:1]
        self._stores, self._attempt = stores, attempt
        self._life = hashlib.sha256(life.encode()).hexdigest()[:12]

    def mark(self, scratch: Path) -> None:
        """Keep what earlier attempts still have from being uploaded.

        Args:
            scratch: A directory for the mark on its way.

        Raises:
            AccessDeniedError: Writing is not allowed.
            StorageUnavailableError: The store failed.
        """
        for output in self._outputs if self._attempt > 1 else ():
            store, place = self._place(output)
            file = scratch / f"{self._life}-{self._attempt}"
            file.write_text(f"Attempt {self._attempt} has begun: nothing of earlier ones is uploaded any more.\n")
            list(store.upload([LocalFile(file, file.name)], place, lambda _: None))

    def check(self) -> None:
        """Refuse once a later attempt has begun.

        Raises:
            SupersededError: It has.
            StorageUnavailableError: The store failed.
        """
        for output in self._outputs:
            store, place = self._place(output)
            with suppress(*_UNSEEN):
                marks = [re.fullmatch(rf"{self._life}-(\d{{1,6}})", entry.key) for entry in store.entries(place)]
                later = max((int(mark[1]) for mark in marks if mark), default=0)
                if later > self._attempt:
                    raise SupersededError(self._attempt, later)

    def is_at(self, place: StoragePath) -> bool:
        """Whether the marks are in the store of a place."""
        return any(StoragePath.parse(output.path).store == place.store for output in self._outputs)

    def _place(self, output: PlannedOutput) -> tuple[Storage, StoragePath]:
        return self._stores.open(output.path, output.connection), StoragePath.parse(output.path) / ATTEMPTS


class FencedStores(Stores):
    """The stores of an attempt, for as long as no later one has begun: opening and uploading are refused then.

    Args:
        stores: All that it opens.
        fence: Asked each time.
        superseded: Told when there is a later attempt.
    """

    def __init__(self, stores: Stores, fence: Fence, superseded: Callable[[SupersededError], None]) -> None:
        self._stores, self._fence, self._superseded = stores, fence, superseded
        self._checked = 0.0

    def open(self, path: str, connection: str) -> Storage:
        """As any stores do.

        Raises:
            SupersededError: A later attempt has begun.
            StorageUnavailableError: The store failed.
        """
        try:
            self._check()
        except TransientError:
            if self._fence.is_at(StoragePath.parse(path)):
                raise  # a model need not wait for the store of the log
        return cast("Storage", _FencedStorage(self._stores.open(path, connection), self._check_again))

    def _check_again(self) -> None:
        """Check now and then, at any time of an upload: it is not to fail for anything else."""
        if time.monotonic() - self._checked > CHECK_SECONDS:
            with suppress(TransientError):
                self._check()

    def _check(self) -> None:
        self._checked = time.monotonic()
        try:
            self._fence.check()
        except SupersededError as error:
            self._superseded(error)
            raise


class _FencedStorage:
    """A store whose uploads end once they are refused: it calls `check` with each piece that was sent."""

    def __init__(self, store: Storage, check: Callable[[], None]) -> None:
        self._store, self._check = store, check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upload(self, files: Iterable[LocalFile], to: StoragePath, progress: Progress) -> Iterator[Uploaded]:
        """As any store does."""

        def checked(sent: int) -> None:
            self._check()
            progress(sent)

        return self._store.upload(files, to, checked)
