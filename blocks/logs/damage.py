"""Setting a day's file aside that cannot be read any more, so that lines of all trainings go on into a new one.

It keeps all that is in it, under a name that says so: `2026-11-23.damaged-1.db` beside its `-wal`, as `sqlite3 FILE
.recover` takes them.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from blocks.domain.errors import LogStoreUnusableError
from blocks.locks import locked

DATABASE = ".db"
COMPANIONS = ("-wal", "-shm")
MAKING = ".making"
"""A file whose lock is held while a day's file is made or set aside."""

_DAMAGED = re.compile(r"(\d{4}-\d{2}-\d{2})\.damaged-\d+\.db", re.ASCII)

logger = logging.getLogger("makerflow")

Identity = tuple[int, int]
"""Device and number of a file: those of a new one of the same name differ, as long as both are there."""


class DayDamagedError(LogStoreUnusableError):
    """A day's file is damaged, or no file at all.

    Attributes:
        file: Which one.
        identity: That of the damaged file, whatever is at its place by now.
    """

    def __init__(self, file: Path, identity: Identity | None, why: str) -> None:
        self.file, self.identity = file, identity
        super().__init__(f"file {file}", why, "Move it away: the next line begins a new file.")

    def __reduce__(self) -> tuple[type, tuple[Path, Identity | None, str]]:
        return type(self), (self.file, self.identity, self.why)


def identity_of(file: Path) -> Identity | None:
    """Which file is at this place; None for none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def set_aside(error: DayDamagedError) -> None:
    """Rename a damaged file, unless somebody else has done so, and say it.

    Raises:
        DayDamagedError: It cannot be renamed.
    """
    file = error.file
    try:
        with locked(file.with_name(MAKING)):
            if error.identity is None or identity_of(file) != error.identity:
                return
            aside = _free_name(file)
            # What belongs to it goes first: whoever opened a new file beside an old -wal would empty that.
            for companion in (*COMPANIONS, ""):
                part = Path(f"{file}{companion}")
                if part.exists():
                    part.rename(f"{aside}{companion}")
    except OSError as refusal:
        raise DayDamagedError(file, error.identity, f"{error.why}, and it cannot be renamed: {refusal}") from refusal
    logger.warning(
        "The log store's file %s is damaged (%s). It was renamed to %s, and new lines go into a new one. What it held "
        "is not searched; each worker's log is at its training's output path too.",
        file, error.why, aside.name,
    )  # fmt: skip


def damaged_files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Day and place of each file that was set aside."""
    for file in sorted(directory.glob(f"*.damaged-*{DATABASE}")):
        if found := _DAMAGED.fullmatch(file.name):
            yield found[1], file


def _free_name(file: Path) -> Path:
    number = 1
    while (aside := file.with_name(f"{file.stem}.damaged-{number}{DATABASE}")).exists():
        number += 1
    return aside
