"""`makerflow logs search`: find lines in the log store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.loading import command_group
from deployments.cli.output import AsJson, clean, write, write_document, write_lines

if TYPE_CHECKING:
    from blocks.domain.log_records import LogRecord
    from blocks.logs.base import LogStore
    from blocks.logs.sqlite import SQLiteLogStore

HELP = "Search what trainings with log management have printed, and what the platform says of them."

app = command_group(HELP)

LOOK_AGAIN_SECONDS = 0.5
PAGE = 1000


@app.callback(help=HELP)
def _group() -> None:
    """With one command only, typer would leave out its name."""


@app.command("search")
def search(
    query: Annotated[str, typer.Argument(help="What to find; without it, everything.", show_default=False)] = "",
    *,
    limit: Annotated[int, typer.Option(help="How many lines, at most.", min=1, max=10_000)] = 100,
    since: Annotated[str, typer.Option(help="A time, or how long ago: 10m, 2h, 1d.", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="The same.", show_default=False)] = "",
    cursor: Annotated[str, typer.Option(help="Where the search before ended.", show_default=False)] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the newest lines, and print them in the order in which they came.

    A query is made of words, "phrases" and field:value, with AND, OR, NOT and parentheses; * at the end of a word or a
    value stands for its rest. Fields: category, logLevel (INFO, WARNING, ERROR), trainingId, trainingName, rank,
    logType, easymakerAppKey, body, and time:[2026-11-23 TO 2026-11-24T16:00], in UTC unless a zone is given, as in
    time:["2026-11-23T16:00+09:00" TO *]. What has one of : ( ) [ ] stands in quotes. For example:

    'category:"easymaker.training" AND trainingName:digits AND logLevel:ERROR'
    """
    from blocks.domain.errors import InvalidInputError

    if follow and (as_json or cursor or until):
        raise InvalidInputError("--follow", "--json, --cursor and --until have an end", "Leave one of them out.")
    store, now = _open_store(), datetime.now(UTC)
    low, high = (_moment(option, text, now) for option, text in (("--since", since), ("--until", until)))
    page = store.search(query, limit=limit, since=low, until=high, cursor=cursor)
    records = page.records[::-1]
    if not (until or cursor):
        _write_shortage(store)
    if page.not_searched:
        names = ", ".join(page.not_searched)
        write(f"Not searched, as damaged: {names} in {store.directory}", error=True)
    if as_json:
        items = [record.document() for record in records]
        write_document({"items": items, "cursor": page.cursor, "notSearched": list(page.not_searched)})
        return
    write_lines(map(_line, records), live=follow)
    if follow:
        write_lines(map(_line, _new_records(store, query, records[-1].time if records else now)), live=True)
    elif page.cursor:
        write(f"\nThere are older ones: --cursor {page.cursor}", error=True)


def _open_store() -> "SQLiteLogStore":
    """The log store, opened without the rest of the platform, which takes longer.

    Raises:
        InvalidInputError: It is switched off.
    """
    from blocks.domain.errors import InvalidInputError
    from blocks.logs.sqlite import SQLiteLogStore
    from deployments.cli.access import read_settings

    settings = read_settings()
    if settings.log_store == "off":
        raise InvalidInputError(
            "MAKERFLOW_LOG_STORE=off", "there is no log store on this installation", "Set it to local, or unset it."
        )
    return SQLiteLogStore(settings.log_directory, most_bytes=settings.log_store_bytes)


def _write_shortage(store: "SQLiteLogStore") -> None:
    """Whose lines of today are missing, and why."""
    from blocks.logs.room import REMEDY

    if shortage := store.room().shortage:
        write(clean(f"Not all of today is here: {shortage}. {REMEDY}"), error=True)


def _moment(option: str, text: str, now: datetime) -> datetime | None:
    """A time, or a duration back from now; None when nothing was given."""
    from blocks.domain.errors import InvalidInputError
    from blocks.domain.moments import from_microseconds
    from blocks.logs.times import TIME_FORMS, time_span
    from deployments.cli.fields import seconds

    if not text:
        return None
    span = time_span(text)
    if span is not None:
        return from_microseconds(span[0])
    try:
        return now - timedelta(seconds=seconds(option, text))
    except (InvalidInputError, OverflowError) as error:
        remedy = f"Write e.g. 10m, 2h or 1d ago; {TIME_FORMS}."
        raise InvalidInputError(f"{option} {text!r}", "it is neither a time nor a duration", remedy) from error


def _new_records(store: "LogStore", query: str, last: datetime) -> "Iterator[LogRecord]":
    """What comes behind that time, for ever."""
    import threading

    pause = threading.Event()
    while True:
        since = last + timedelta(microseconds=1)
        page = store.search(query, limit=PAGE, since=since)
        found = list(page.records)
        while page.cursor:
            page = store.search(query, limit=PAGE, since=since, cursor=page.cursor)
            found += page.records
        yield from reversed(found)
        if found:
            last = found[0].time
        else:
            pause.wait(LOOK_AGAIN_SECONDS)


def _line(record: "LogRecord") -> str:
    fields = record.fields
    name = fields.get("trainingName") or fields.get("trainingId") or fields.get("category", "")
    rank = f"/{fields['rank']}" if "rank" in fields else ""
    return f"{record.time:%Y-%m-%dT%H:%M:%S.%f}Z {record.level.value:<7} {name}{rank}  {record.body}"
