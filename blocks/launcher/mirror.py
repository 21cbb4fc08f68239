"""Which files of a directory are complete and not yet at their place: what of it is to be uploaded now."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput
from blocks.launcher.tree import FoundFile, Tree, look

SETTLED_SECONDS = 1.0
"""A file that has not changed for so long is complete."""

DEATH_SECONDS = 0.1
"""What was written so shortly before a worker was killed may be half a file."""

GROWING_SECONDS = 2.0
GROWING_BYTES_PER_SECOND = 2_000_000
"""A file that only ever grows is sent again at most so often, and no faster than this on average."""

UNFINISHED_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".incomplete")
"""Names that say themselves that another name will come."""


@dataclass(frozen=True)
class Death:
    """How a worker ended that was writing.

    Attributes:
        at: Seconds of the epoch.
        half_written: The keys of the files that were open for writing when it was ended; None when nobody could look.
    """

    at: float
    half_written: Collection[str] | None = None


class Mirror:
    """One worker's directory and where it goes. Not safe for several threads at once, but for `bury`."""

    def __init__(self, root: Path, output: PlannedOutput, rank: int) -> None:
        self.root = root
        self.output = output
        self.rank = rank
        self.to = output_path(output, rank)
        self.growing = output.kind is OutputKind.TENSORBOARD
        self._seen: dict[str, tuple[tuple[int, int, int], float]] = {}
        self._sent: dict[str, tuple[tuple[int, int, int], float]] = {}
        self._buried: set[tuple[int, int, int]] = set()

    def ready(self) -> list[FoundFile]:
        """What can be sent while the worker goes on writing."""
        now = time.monotonic()
        tree = look(self.root)
        ready = [file for file in tree.files if self._is_news(file) and self._is_ready(file, now)]
        present = {file.key for file in tree.files}
        self._seen = {key: seen for key, seen in self._seen.items() if key in present}
        return ready

    def rest(self, death: Death | None) -> tuple[list[FoundFile], Tree]:
        """What is left to send when the worker has ended, and the whole tree. A killed one's last file may be half."""
        tree = look(self.root)
        complete = tree.files if self.growing else complete_files(tree.files, death)
        return [file for file in complete if self._is_news(file)], tree

    def bury(self, death: Death | None) -> None:
        """Never send what is half written now: its writer is dead."""
        files = [] if self.growing else look(self.root).files
        self._buried |= {file.version for file in files} - {file.version for file in complete_files(files, death)}

    def note_sent(self, file: FoundFile) -> None:
        """It is at its place."""
        self._sent[file.key] = (file.version, time.monotonic())

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
        return (sent is None or sent[0] != file.version) and file.version not in self._buried

    def _is_ready(self, file: FoundFile, now: float) -> bool:
        if self.growing:
            pause = max(GROWING_SECONDS, file.size / GROWING_BYTES_PER_SECOND)
            return file.key not in self._sent or now - self._sent[file.key][1] >= pause
        if file.key.endswith(UNFINISHED_SUFFIXES):
            return False
        seen = self._seen.get(file.key)
        if seen is None or seen[0] != file.version:
            self._seen[file.key] = (file.version, now)
            return file.is_renamed
        return now - seen[1] >= SETTLED_SECONDS


def complete_files(files: Collection[FoundFile], death: Death | None) -> list[FoundFile]:
    """Those that nobody was in the middle of writing.

    Where a worker was killed and nobody could look, the newest file is taken for half written, with what else was
    written at that moment, unless it has not changed for long or was renamed into place.
    """
    if death is None:
        return list(files)
    if death.half_written is not None:
        return [file for file in files if file.key not in death.half_written]
    newest = max((file.modified_ns for file in files), default=0)

    def is_complete(file: FoundFile) -> bool:
        before = death.at - file.modified_ns / 1e9
        if file.is_renamed or before >= SETTLED_SECONDS:
            return True
        return file.modified_ns < newest and before >= DEATH_SECONDS

    return [file for file in files if is_complete(file)]


def output_path(output: PlannedOutput, rank: int) -> StoragePath:
    """Where one worker's part of an output goes."""
    path = StoragePath.parse(output.path)
    return path / f"worker-{rank}" if rank else path
