"""Which files of a directory are complete and not yet at their place: what of it is to be uploaded now."""

import os
import time
from collections.abc import Set
from pathlib import Path

from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput
from blocks.launcher.doubts import SETTLED_SECONDS, UNFINISHED_SUFFIXES
from blocks.launcher.held_files import HeldFiles
from blocks.launcher.tree import FoundFile, Tree, Version, look

GROWING_SECONDS = 2.0
GROWING_BYTES_PER_SECOND = 2_000_000
"""A file that only ever grows is sent again at most so often, and no faster than this on average."""


class Mirror:
    """One worker's directory and where it goes. Not safe for several threads at once, but for `doubt`."""

    def __init__(self, root: Path, output: PlannedOutput, rank: int) -> None:
        self.root = root
        self.output = output
        self.rank = rank
        self.to = output_path(output, rank)
        self.growing = output.kind is OutputKind.TENSORBOARD
        self._seen: dict[str, tuple[Version, float]] = {}
        self._held = HeldFiles()
        self._sent: dict[str, tuple[Version, float]] = {}
        self._doubts: Set[Version] = frozenset()

    def ready(self) -> list[FoundFile]:
        """What can be sent while the worker goes on writing."""
        now = time.monotonic()
        tree = look(self.root)
        ready = [file for file in tree.files if self._is_news(file) and self._is_ready(file, now)]
        present = {file.key for file in tree.files}
        self._seen = {key: seen for key, seen in self._seen.items() if key in present}
        self._held.keep(present - {file.key for file in ready})
        return ready + [file for file in self._held.rested(now) if self._is_news(file)]

    def is_held(self, file: FoundFile) -> bool:
        """Whether its path is that of what is held of it: another may have its name by now."""
        return not file.path.startswith(f"{self.root}{os.sep}")

    def rest(self) -> tuple[list[FoundFile], Tree]:
        """What is left to send when the worker has ended, and the whole tree."""
        self._held.keep(set())
        tree = look(self.root)
        return [file for file in tree.files if self._is_news(file)], tree

    def doubt(self, versions: Set[Version]) -> None:
        """Never send these: nobody goes on writing them, and they may be half written."""
        self._doubts = versions

    def note_sent(self, file: FoundFile) -> None:
        """It is at its place."""
        self._sent[file.key] = (file.version, time.monotonic())
        self._held.drop(file.key)

    @property
    def sent_files(self) -> int:
        """How many files are at their place."""
        return len(self._sent)

    @property
    def sent_bytes(self) -> int:
        """How many bytes they have."""
        return sum(version[0] for version, _ in self._sent.values())

    def _is_news(self, file: FoundFile) -> bool:
        sent = self._sent.get(file.key)
        return (sent is None or sent[0] != file.version) and file.version not in self._doubts

    def _is_ready(self, file: FoundFile, now: float) -> bool:
        if self.growing:
            pause = max(GROWING_SECONDS, file.size / GROWING_BYTES_PER_SECOND)
            return file.key not in self._sent or now - self._sent[file.key][1] >= pause
        if file.key.endswith(UNFINISHED_SUFFIXES):
            return False
        seen = self._seen.get(file.key)
        if seen is None or seen[0] != file.version:
            self._seen[file.key] = (file.version, now)
            if seen is not None:
                self._held.hold(file, now)
            return file.is_renamed
        return now - seen[1] >= SETTLED_SECONDS


def output_path(output: PlannedOutput, rank: int) -> StoragePath:
    """Where one worker's part of an output goes."""
    path = StoragePath.parse(output.path)
    return path / f"worker-{rank}" if rank else path
