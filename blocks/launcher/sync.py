"""Uploads checkpoints and TensorBoard files while the entry point runs, and what is left when it has ended."""

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event, Lock

from blocks.domain.errors import MakerflowError
from blocks.launcher.mirror import Mirror
from blocks.launcher.stores import Stores
from blocks.launcher.tree import FoundFile, RefusedOutputError
from blocks.storage.base import LocalFile
from blocks.storage.local_files import open_collected

PAUSE_SECONDS = 1.0
SHARE_OF_TIME = 20
"""Between two looks passes so many times the time that a look takes: at most a twentieth of a processor."""

FIRST_BACKOFF_SECONDS = 2.0
LAST_BACKOFF_SECONDS = 60.0
COPY_BYTES = 1 << 20

OpenFiles = Callable[[Path], set[str]]
"""The files below a directory that a process of the run has open for writing, relative to it."""

Arrived = Callable[[Mirror, str, int], None]
"""Told of each file that is at its place: its directory, its full path, its size."""


def tell_trouble(what: str, error: Exception) -> None:
    """Say on standard error what is tried again later, and where it came from if nobody has foreseen it."""
    if not isinstance(error, MakerflowError | OSError):
        traceback.print_exception(error)
    print(f"{what}: {error}", file=sys.stderr, flush=True)


class Synchroniser:
    """Keeps places of storage like the directories of the workers.

    Args:
        scratch: For copies of what changes while it is sent.
        open_files: Asked while the workers run, and only when there is something to send.
    """

    def __init__(
        self, mirrors: Sequence[Mirror], stores: Stores, scratch: Path, open_files: OpenFiles, arrived: Arrived
    ) -> None:
        self.mirrors = mirrors
        self._stores = stores
        self._open_files = open_files
        self._scratch, self._held = scratch, scratch / "held"
        self._arrived = arrived
        self._turn = Lock()  # an upload that hangs may outlast the attempt that it belongs to

    def follow(self, ended: Event) -> None:
        """Upload what is complete, until `ended`. What a store refuses now is tried again, at last by `finish`."""
        backoff = FIRST_BACKOFF_SECONDS
        pause = PAUSE_SECONDS
        while not ended.wait(pause):
            began = time.monotonic()
            try:
                with self._turn:
                    ready = [(mirror, self._closed(mirror, mirror.ready())) for mirror in self.mirrors]
                    pause = max(PAUSE_SECONDS, SHARE_OF_TIME * (time.monotonic() - began))
                    for mirror, files in ready:
                        self._send(mirror, files)
                backoff = FIRST_BACKOFF_SECONDS
            except Exception as error:  # whatever a store's client raised: later uploads may succeed
                tell_trouble("uploading while the workers run", error)
                pause, backoff = backoff, min(backoff * 2, LAST_BACKOFF_SECONDS)

    def finish(self) -> None:
        """Upload what is left of each worker; all that can be, before what cannot be is complained of.

        Raises:
            RefusedOutputError: Something may not leave the machine.
            AccessDeniedError: Writing is not allowed.
            StorageUnavailableError: The store failed.
        """
        trees = []
        with self._turn:
            for mirror in self.mirrors:
                files, tree = mirror.rest()
                trees.append((mirror, tree))
                self._send(mirror, files)
        for mirror, tree in trees:
            tree.check(f"What worker {mirror.rank} left in its {mirror.root.name} directory")

    def _closed(self, mirror: Mirror, files: list[FoundFile]) -> list[FoundFile]:
        """Without those that somebody goes on writing, however long his pauses; what grows is sent as it is."""
        opened = self._open_files(mirror.root) if files and not mirror.growing else set()
        if not opened:
            return files
        root = os.path.realpath(mirror.root)
        return [file for file in files if os.path.relpath(os.path.realpath(file.path), root) not in opened]

    def _send(self, mirror: Mirror, files: Iterable[FoundFile]) -> None:
        by_key = {file.key: file for file in files if os.path.exists(file.path)}
        if not by_key:
            return
        store = self._stores.open(mirror.output.path, mirror.output.connection)
        try:
            local = [LocalFile(self._to_send(mirror, file), file.key) for file in by_key.values()]
            for uploaded in store.upload(local, mirror.to, lambda _: None):
                mirror.note_sent(by_key[uploaded.key])
                self._arrived(mirror, str(uploaded.path), uploaded.size)
        finally:
            shutil.rmtree(self._held, ignore_errors=True)

    def _to_send(self, mirror: Mirror, file: FoundFile) -> Path:
        """The file itself; of one that grows, or has lost its name to another, a copy, so that it holds meanwhile."""
        if mirror.is_held(file):
            self._held.mkdir(parents=True, exist_ok=True)
            return Path(shutil.copyfile(file.path, self._held / str(file.inode)))
        if not mirror.growing:
            return Path(file.path)
        copy = self._scratch / mirror.output.kind / str(mirror.rank) / file.key
        copy.parent.mkdir(parents=True, exist_ok=True)
        path = os.path.realpath(file.path)
        if not path.startswith(os.path.realpath(mirror.root) + os.sep):  # a link that came after the look
            raise RefusedOutputError(file.key, "it became a link out of its directory", "Leave plain files.")
        copy.unlink(missing_ok=True)
        with open(open_collected(Path(path)), "rb") as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
        return copy
