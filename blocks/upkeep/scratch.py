"""Files past their keep time: what followers printed, and TensorBoard's events of what was deleted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import UNDER_WAY
from blocks.registry.database import Registry

SETTLED = timedelta(hours=1)
"""A directory of events that was touched within this time is left alone."""


OWNER = ".registry"
"""The file in an experiment's directory of events that holds the id of the registry which it belongs to."""


@dataclass(frozen=True)
class Scratch:
    """A file or directory that nobody needs any more."""

    path: Path
    why: str


def old_logs(home: Path, registry: Registry, now: datetime, keep: timedelta) -> list[Scratch]:
    """The logs of followers of what is over, which nobody has written to for the keep time."""
    old = [file for file in (home / "logs").glob("t[ru]n-*.log") if _changed(file) + keep <= now]
    known = registry.overview.standing([file.stem for file in old])
    busy = {id for id, training in known.items() if training.status in UNDER_WAY}
    busy |= {row.id for row in registry.overview.tunings_under_way(now)} if old else set()
    return [Scratch(file, "an old log of a follower") for file in old if file.stem not in busy]


def orphaned_events(home: Path, registry: Registry, now: datetime) -> Iterator[Scratch]:
    """TensorBoard's events of experiments and trainings that are no more.

    Those of another registry's experiments stay, and those that name none.
    """
    for folder in _folders(home / "tensorboard"):
        trainings = _folders(folder)  # looked at first: a row is there before its events
        try:
            registry.experiments.get(folder.name)
        except NotFoundError:
            if _owner_of(folder) == registry.id and _changed(folder) + SETTLED <= now:
                yield Scratch(folder, "TensorBoard's events of an experiment that is no more")
            continue
        names = registry.overview.event_names_in(folder.name) if trainings else set()
        for events in trainings:
            if events.name not in names and _changed(events) + SETTLED <= now:
                yield Scratch(events, "TensorBoard's events of a training that is no more")


def mark_owner(folder: Path, registry_id: str) -> None:
    """Say in an experiment's directory of events which registry it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER).write_text(registry_id)


def _owner_of(folder: Path) -> str:
    try:
        return (folder / OWNER).read_text()
    except FileNotFoundError:
        return ""


def _folders(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []


def _changed(path: Path) -> datetime:
    """Now, when it is gone meanwhile."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.now(UTC)
