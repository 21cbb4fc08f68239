"""Which checkpoints a killed worker may have left half written: they are neither uploaded nor gone on from.

A doubt lasts until the file changes, over attempts and agents, so it is kept on disk.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from blocks.cluster.layout import RunLayout, write_json
from blocks.domain.plan import ExitRecord
from blocks.launcher.directories import CHECKPOINTS
from blocks.launcher.pod_volume import read_object
from blocks.launcher.tree import FoundFile, Version, look

SETTLED_SECONDS = 1.0
"""A file that has not changed for so long is complete."""

DEATH_SECONDS = 0.1
"""What was written so shortly before a worker was killed may be half a file."""

UNFINISHED_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".incomplete")
"""Names that say themselves that another name will come."""


_NONSENSE = (ValueError, KeyError, TypeError)
"""What a document may lead to that an entry point has left."""


@dataclass(frozen=True)
class Death:
    """How a worker ended that was killed.

    Attributes:
        at: Seconds of the epoch.
        open_files: The keys of the files that were open for writing then; None when nobody could look.
    """

    at: float
    open_files: Collection[str] | None = None


def note_doubts(layout: RunLayout, ranks: Iterable[int], attempt: int) -> None:
    """Keep what is in doubt after an attempt. Twice is fine, as long as nothing of the next one has run."""
    for rank in ranks:
        death = _death(layout, rank, attempt)
        files = look(layout.worker(rank) / CHECKPOINTS).files
        known = known_doubts(layout, rank)
        doubts = known & {file.version for file in files}
        if death:
            doubts |= {file.version for file in half_written(files, death)}
        if doubts != known:
            write_json(layout.worker(rank) / "doubts.json", {"versions": sorted(doubts)})


def known_doubts(layout: RunLayout, rank: int) -> set[Version]:
    """The versions of files that nobody may take for complete; none where an entry point has put something else."""
    with suppress(OSError, *_NONSENSE):
        document = read_object(layout.worker(rank) / "doubts.json")
        return {(size, modified, inode) for size, modified, inode in document["versions"]}
    return set()


def half_written(files: Collection[FoundFile], death: Death) -> list[FoundFile]:
    """The files that the worker may have been in the middle of writing.

    Where nobody could look, that is the newest one, with what else was written at that moment, unless it has not
    changed for long or was renamed into place.
    """
    if death.open_files is not None:
        return [f for f in files if f.key in death.open_files or f.key.endswith(UNFINISHED_SUFFIXES)]
    newest = max((file.modified_ns for file in files), default=0)

    def is_in_doubt(file: FoundFile) -> bool:
        if file.key.endswith(UNFINISHED_SUFFIXES):
            return True
        before = death.at - file.modified_ns / 1e9
        if file.is_renamed or before >= SETTLED_SECONDS:
            return False
        return file.modified_ns == newest or before < DEATH_SECONDS

    return [file for file in files if is_in_doubt(file)]


def _death(layout: RunLayout, rank: int, attempt: int) -> Death | None:
    """None for a worker that ended by itself, and so could finish its files."""
    record = ExitRecord.model_validate(read_object(layout.exit_record(rank, attempt)))
    if record.code is not None:
        return None
    looked = None
    with suppress(OSError, *_NONSENSE):
        looked = frozenset(read_object(layout.worker(rank) / f"open-{attempt}.json")["files"])
    return Death(record.ended.timestamp(), looked)
