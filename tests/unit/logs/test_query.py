"""Reading queries: what is understood, what is refused and where, and that nothing of it becomes SQL."""

import sqlite3
import time
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.domain.errors import InvalidInputError
from blocks.domain.log_records import LogEntry, LogLevel, LogSource
from blocks.logs.base import BEGINNING, LogCursor, Reading
from blocks.logs.conditions import AllOf, AnyOf, Field, Kept, NotSo, Words
from blocks.logs.query import MAX_BYTES, parse_query
from blocks.logs.sqlite import SQLiteLogStore
from blocks.logs.times import time_span

DAY = 86_400_000_000
NOVEMBER_23 = 1_795_392_000_000_000


@pytest.mark.req("LOG-01")
@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("", AllOf()),
        ("disk", Words("disk")),
        ('"the disk"', Words("the disk")),
        ("dis*", Words("dis", is_prefix=True)),
        (r"dis\*", Words("dis*")),
        ("body:(a OR b)", AnyOf((Words("a"), Words("b")))),
        ("a b", AllOf((Words("a"), Words("b")))),
        ("+a -b", AllOf((Words("a"), NotSo(Words("b"))))),
        ("NOT (a)", NotSo(Words("a"))),
        ('category:"easymaker.training"', Field("category", "easymaker.training")),
        (r'logType:"NHNCloud\-AIEasyMaker"', Field("logType", "NHNCloud-AIEasyMaker")),
        ("logType:NHNCloud-AIEasyMaker", Field("logType", "NHNCloud-AIEasyMaker")),
        ("logLevel:error", Field("logLevel", "ERROR")),
        ("trainingId:(a OR b*)", AnyOf((Field("trainingId", "a"), Field("trainingId", "b", is_prefix=True)))),
        ("time:[2026-11-23 TO 2026-11-23]", Kept(NOVEMBER_23, NOVEMBER_23 + DAY)),
        ("time:{2026-11-23 TO *}", Kept(NOVEMBER_23 + DAY)),
        ("time:[* TO 2026-11-23}", Kept(None, NOVEMBER_23)),
        ('time:>="2026-11-23T09:00+09:00"', Kept(NOVEMBER_23)),
        ('time:<"2026-11-23 00:00:00"', Kept(None, NOVEMBER_23)),
    ],
)
def test_a_query_says_what_it_means(query: str, condition: object) -> None:
    assert parse_query(query) == condition


@pytest.mark.req("LOG-01")
@pytest.mark.parametrize(
    ("query", "place", "why"),
    [
        ("a AND *b", "character 7, '*b'", "a wildcard is a \\* at the end"),
        ("a AND b?c", "character 7, 'b?c'", "a wildcard"),
        ("a /b/", "character 3, '/b/'", "regular expressions"),
        ("a~2", "character 1", "similar words"),
        ('"a b"~2', "character 1", "near each other"),
        ("a^3", "character 1", "weighted"),
        ("x:a", "character 1, 'x:a'", "there is no field 'x'"),
        ("trainingId:(a OR rank:1)", "character 18, 'rank:1'", "inside of the field"),
        ("rank:[1 TO 2]", "character 6", "only time has ranges"),
        ("time:2026-11-23", "character 6", "takes a range"),
        ("time:[soon TO *]", "character 7, 'soon'", "is no time"),
        ("logLevel:LOUD", "character 10", "INFO, WARNING, ERROR"),
        ("a && b", "character 3", "AND, OR and NOT"),
        ("---", "query '---'", "."),
        ("(a", "query '(a'", "end of expression"),
        ("a)", "query 'a)'", "at character 2"),
        ("body:^a", "query 'body:^a'", r"unexpected '\^' at character 6; what has any of .* ~ \^"),
        ("body:~", "query 'body:~'", "unexpected '~' at character 6"),
        ('"a', "query '\"a'", "at character 1"),
        ('"..."', "character 1", "neither a letter nor a digit"),
        ("time:[2026-11-23T16:00+09:00 TO *]", "query 'time", "character 26; what has any of : .* stands in quotes"),
        ("Traceback (most recent call last):", "query 'Trace", "stands in quotes"),
        ("'; DROP TABLE lines;--", "query", "illegal character .* at character 1"),
        ("NOT", "query 'NOT'", "end of expression"),
        ("loglevel:ERROR", "character 1", "no field 'loglevel', but 'logLevel'"),
        ("trainingID:x", "character 1", "no field 'trainingID', but 'trainingId'"),
        ("(" * 300 + "a" + ")" * 300, "character", "nested"),
        ("x" * (MAX_BYTES + 1), "query", "longer than 1,024 bytes"),
    ],
)
def test_what_is_refused_is_named_with_its_place_and_what_is_allowed(query: str, place: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match="Allowed are AND, OR, NOT") as refusal:
        parse_query(query)
    assert place in str(refusal.value)
    refusal.match(why)


def test_a_time_covers_what_it_leaves_open() -> None:
    assert time_span("2026-11-23") == (NOVEMBER_23, NOVEMBER_23 + DAY)
    assert time_span("2026-11-23T00:00") == (NOVEMBER_23, NOVEMBER_23 + 60_000_000)
    assert time_span("2026-11-23 00:00:00Z") == (NOVEMBER_23, NOVEMBER_23 + 1_000_000)
    assert time_span("2026-11-23T00:00:00.5") == (NOVEMBER_23 + 500_000, NOVEMBER_23 + 500_001)
    assert [time_span(text) for text in ("", "2026", "2026-13-01", "9999-12-31T23:59:59-23:59", "now")] == [None] * 5


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteLogStore]:
    store = SQLiteLogStore(tmp_path_factory.mktemp("logs"))
    entries = [LogEntry(level, f"step={n} loss={n / 7:.3f} 'disk'") for n, level in enumerate([*LogLevel] * 10)]
    store.append(LogSource("app", "easymaker.training"), Reading("k", BEGINNING, LogCursor(1), entries))
    yield store
    store.close()


WORDS = r"""
a disk " ' '' AND OR NOT ( ) : logLevel category body time * ? [ ] { } TO \ / ~ ^ - + && ! ; -- DROP % _ NEAR rowid
words 2026-11-23 > <= 0 x'OR(1=1)--
"""
PIECES = st.sampled_from([*WORDS.split(), "\N{EURO SIGN}", "\ud800", "\x00", " "])


@given(st.lists(PIECES, max_size=30).map(" ".join) | st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
@example('body:"\' OR 1=1 --"')
@example('"disk\\" OR rowid"')
@example("NOT NOT NOT disk")
@example("a OR " * 200 + "a")
@example(" ".join(["a*"] * 340))
@example("NOT " * 38 + "a")
def test_any_query_is_answered_or_refused_soon_and_changes_nothing(store: SQLiteLogStore, query: str) -> None:
    began = time.monotonic()
    try:
        found = store.search(query, limit=100).records
    except InvalidInputError:
        found = ()
    assert len(found) <= 30
    assert time.monotonic() - began < 10
    assert store.usage().records == 30


@given(st.text(max_size=40).filter(lambda text: any(c.isalnum() for c in text)))
def test_a_phrase_in_quotes_is_searched_for_and_nothing_else(store: SQLiteLogStore, text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    condition = parse_query(f'"{quoted}"')
    assert condition == Words(text.encode(errors="replace").decode().replace("\0", " "))


def test_sqlite_has_what_the_store_needs() -> None:
    connection = sqlite3.connect(":memory:")
    options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    assert "ENABLE_FTS5" in options
