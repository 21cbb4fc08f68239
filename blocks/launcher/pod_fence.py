"""Keeps a worker that was given up from uploading over what its successor uploads.

To Kubernetes a node is lost that does not answer; what runs there may live on, and reach the store. So an attempt after
the first leaves a mark of its number beside the log before any worker of it starts, and who uploads looks for such
marks first: a fencing token (M. Kleppmann, How to do distributed locking, 2016) that who writes checks, as stores do
not. What is being sent at that moment still arrives.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blocks.domain.errors import AccessDeniedError, PermanentError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput, RunPlan
from blocks.launcher.outputs import outputs_of
from blocks.launcher.stores import Stores
from blocks.storage.base import LocalFile, Storage

ATTEMPTS = "attempts"
"""The folder of the marks, in that of the log."""


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
            with suppress(AccessDeniedError):  # an account that may write need not be allowed to look
                marks = [re.fullmatch(rf"{self._life}-(\d{{1,6}})", entry.key) for entry in store.entries(place)]
                later = max((int(mark[1]) for mark in marks if mark), default=0)
                if later > self._attempt:
                    raise SupersededError(self._attempt, later)

    def _place(self, output: PlannedOutput) -> tuple[Storage, StoragePath]:
        return self._stores.open(output.path, output.connection), StoragePath.parse(output.path) / ATTEMPTS


class FencedStores(Stores):
    """The stores of an attempt, for as long as no later one has begun: `open` refuses then.

    Args:
        stores: All that it opens.
        fence: Asked each time.
        superseded: Told when there is a later attempt.
    """

    def __init__(self, stores: Stores, fence: Fence, superseded: Callable[[SupersededError], None]) -> None:
        self._stores, self._fence, self._superseded = stores, fence, superseded

    def open(self, path: str, connection: str) -> Storage:
        """As any stores do.

        Raises:
            SupersededError: A later attempt has begun.
        """
        try:
            self._fence.check()
        except SupersededError as error:
            self._superseded(error)
            raise
        return self._stores.open(path, connection)
