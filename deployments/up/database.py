"""Prefect's database before its server opens it: what is newer or damaged is told, not tried."""

import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from blocks.connections.server import make_prefect_database
from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError


def prepare_prefect_database(settings: Settings) -> bool:
    """Make the database's file when there is none, for its owner alone; whether the server will have to upgrade it.

    Raises:
        InvalidInputError: It is of a newer Prefect, or damaged.
    """
    file = settings.prefect_database
    make_prefect_database(settings)
    if not file.stat().st_size:
        return False
    revision, known = _revision(file), _known_revisions()
    if revision and revision not in known:
        raise InvalidInputError(
            f"The workflow database {file}",
            f"it was made by a newer Prefect (revision {revision})",
            "Install the Makerflow that wrote it, or move the file away to begin with an empty one: "
            "experiments and trainings are kept elsewhere.",
        )
    return bool(revision) and revision != known[-1]


def _revision(file: Path) -> str:
    """The revision of a database's tables; empty when it has none yet."""
    try:
        with closing(sqlite3.connect(file, timeout=10)) as connection:
            # Also reads what a killed server has left in its journal.
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return ""
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        raise _unusable(file, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _unusable(file, f"it is damaged ({error})") from error
    return str(found[0]) if found else ""


def _known_revisions() -> list[str]:
    """Those of the installed Prefect, the newest last, from its files' names: importing it would take seconds."""
    spec = find_spec("prefect")
    if spec is None or not spec.submodule_search_locations:
        return []
    files = Path(spec.submodule_search_locations[0], "server/database/_migrations/versions/sqlite").glob("20*.py")
    return [file.name.split("_")[4] for file in sorted(files)]


def _unusable(file: Path, why: str) -> InvalidInputError:
    remedy = "Put a copy back, or move the file away to begin with an empty one: trainings are kept elsewhere."
    return InvalidInputError(f"The workflow database {file}", why, remedy)
