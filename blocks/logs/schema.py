"""The tables of a day's file, and the statements that write them."""

from blocks.logs.statements import STREAM_FIELDS

VERSION = 1

_COLUMNS = ", ".join(f'"{name}"' for name in STREAM_FIELDS)
_PLACES = ", ".join("?" * len(STREAM_FIELDS))
_OWNER = "coalesce(nullif(tuningId, ''), nullif(trainingId, ''), endpointId)"
"""As `LogSource.owner`."""

SCHEMA = f"""
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    lines INTEGER NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,
    {", ".join(f'"{name}" TEXT NOT NULL' for name in STREAM_FIELDS)},
    UNIQUE ({_COLUMNS})
);
CREATE TABLE lines (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX lines_of_stream ON lines (stream);
CREATE VIRTUAL TABLE words USING fts5 (body, content='lines', content_rowid='id');
CREATE TABLE cursors (
    key TEXT PRIMARY KEY, offset INTEGER NOT NULL, state TEXT NOT NULL, kept_us INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
HAS_BYTES = "SELECT 1 FROM pragma_table_info('streams') WHERE name = 'bytes'"
ADD_BYTES = """
ALTER TABLE streams ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE streams SET bytes = lines * 100;
"""
"""For a file of a program that did not count them; programs of both kinds can go on writing into it."""

NEW_STREAM = f"INSERT OR IGNORE INTO streams (lines, {_COLUMNS}) VALUES (0, {_PLACES})"  # noqa: S608 - our own columns
THE_STREAM = f"SELECT id FROM streams WHERE ({_COLUMNS}) = ({_PLACES})"  # noqa: S608 - the same
ITS_FIELDS = f"SELECT {_COLUMNS} FROM streams WHERE id = ?"  # noqa: S608 - the same
OWNERS = (
    f"SELECT {_OWNER}, max(trainingName), sum(bytes) FROM streams "  # noqa: S608 - the same
    "GROUP BY 1 ORDER BY 3 DESC, 1"
)
SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
MORE_LINES = "UPDATE streams SET lines = lines + ?, bytes = bytes + ? WHERE id = ?"
KEEP_CURSOR = "INSERT OR REPLACE INTO cursors (key, offset, state, kept_us) VALUES (?, ?, ?, ?)"
