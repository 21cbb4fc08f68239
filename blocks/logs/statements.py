"""From a condition to the SQL of one day's file. What users wrote goes into parameters, never into the statement."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from blocks.domain.log_records import SOURCE_FIELDS
from blocks.logs.conditions import AllOf, AnyOf, Condition, Field, Kept, NotSo, Words

STREAM_FIELDS = ("logLevel", *SOURCE_FIELDS)
"""The columns of `streams`, named as queries name them."""

FEW = 3000
"""So many lines are looked at one by one faster than a frequent word's whole list is read."""

_HAS_WORDS = "l.id IN (SELECT rowid FROM words WHERE words MATCH ?)"
_HAS_WORDS_HERE = "EXISTS (SELECT 1 FROM words WHERE words MATCH ? AND words.rowid = l.id)"


@dataclass(frozen=True)
class Sql:
    """A piece of SQL with its parameters."""

    text: str
    parameters: tuple[str | int, ...] = ()

    def joined(self, others: Iterable["Sql"], word: str) -> "Sql":
        """This and the others with `word` between them."""
        parts = [self, *others]
        text = f" {word} ".join(part.text for part in parts)
        return Sql(text, tuple(value for part in parts for value in part.parameters))


TRUE = Sql("1")
FALSE = Sql("0")


@dataclass(frozen=True)
class Split:
    """The parts of a condition, all of which have to hold, by what answers them best.

    Attributes:
        streams: On `streams` alone: what fields say.
        words: One full-text query; empty for none.
        rest: On lines: what needs both, or a time.
    """

    streams: Sql
    words: str
    rest: Sql


def split(condition: Condition) -> Split:
    """The parts of a condition."""
    parts = list(_flattened(condition))
    fields = [part for part in parts if _is_about_fields(part)]
    texts = [(part, text) for part in parts if (text := _full_text(part))]
    rest = [part for part in parts if part not in fields and not _full_text(part)]
    return Split(
        TRUE.joined([_of_stream(part) for part in fields], "AND"),
        " AND ".join(text for _, text in texts),
        TRUE.joined([_of_line(part) for part in rest], "AND"),
    )


def chosen_streams(parts: Split) -> Sql:
    """Id and number of lines of each stream that can have a match."""
    text = f"SELECT s.id, s.lines FROM streams s WHERE {parts.streams.text}"  # noqa: S608 - values are parameters
    return Sql(text, parts.streams.parameters)


def newest(parts: Split, streams: dict[int, int], total: int, low: int, high: int, limit: int) -> Sql:
    """The newest lines that match, with an id from `low` on and below `high`: id, stream, body.

    Args:
        parts: What is asked for.
        streams: Those that can have a match, with their numbers of lines.
        total: Lines of all streams.
        low: The first id.
        high: The id behind the last one.
        limit: How many.
    """
    count = sum(streams.values())
    among = Sql("IN (SELECT value FROM json_each(?))", (json.dumps(list(streams)),))
    bounds = Sql("l.id >= ? AND l.id < ?", (low, high))
    if parts.words and count > FEW:  # from word to lines: the list of a word is in the order of the ids
        source = "words w CROSS JOIN lines l ON l.id = w.rowid"
        matching = Sql("words MATCH ? AND w.rowid >= ? AND w.rowid < ?", (parts.words, low, high))
        chosen = Sql(f"l.stream {among.text}", among.parameters)
        where, order = matching.joined([chosen, parts.rest], "AND"), "w.rowid"
    else:
        # With few lines their index leads to them; among many the next match is near. `+` keeps SQLite off the index.
        column = "l.stream" if count * count < limit * total or count <= FEW else "+l.stream"
        chosen = Sql(f"{column} {among.text}", among.parameters)
        words = [Sql(_HAS_WORDS_HERE, (parts.words,))] if parts.words else []
        source, where, order = "lines l", bounds.joined([chosen, *words, parts.rest], "AND"), "l.id"
    found = f"SELECT l.id, l.stream, l.body FROM {source} WHERE {where.text}"  # noqa: S608 - values are parameters
    return Sql(f"{found} ORDER BY {order} DESC LIMIT ?", (*where.parameters, limit))


def _flattened(condition: Condition) -> Iterable[Condition]:
    if isinstance(condition, AllOf):
        for part in condition.parts:
            yield from _flattened(part)
    else:
        yield condition


def _is_about_fields(condition: Condition) -> bool:
    match condition:
        case Field():
            return True
        case AllOf(parts) | AnyOf(parts):
            return all(map(_is_about_fields, parts))
        case NotSo(part):
            return _is_about_fields(part)
    return False


def _full_text(condition: Condition) -> str:
    """The condition as one query of FTS5; empty when it asks for more than words."""
    match condition:
        case Words(text, is_prefix):
            quoted = '"' + text.replace('"', '""') + '"'
            return f"{quoted}*" if is_prefix else quoted
        case AllOf(parts) | AnyOf(parts):
            texts = [_full_text(part) for part in parts]
            word = " AND " if isinstance(condition, AllOf) else " OR "
            return f"({word.join(texts)})" if texts and all(texts) else ""
    return ""


def _of_stream(condition: Condition) -> Sql:
    match condition:
        case Field(name, value, is_prefix):
            return _field(name, value, is_prefix)
        case AllOf(parts):
            return _bracketed(TRUE.joined(map(_of_stream, parts), "AND"))
        case AnyOf(parts):
            return _bracketed(FALSE.joined(map(_of_stream, parts), "OR"))
        case NotSo(part):
            return _negated(_of_stream(part))
    raise AssertionError(condition)


def _field(name: str, value: str, is_prefix: bool) -> Sql:
    column = f's."{STREAM_FIELDS[STREAM_FIELDS.index(name)]}"'  # one of ours, whoever built the condition
    if not is_prefix:
        return Sql(f"{column} = ?", (value,))
    if not value:
        return Sql(f"{column} <> ''")
    return Sql(f"substr({column}, 1, ?) = ?", (len(value), value))


def _of_line(condition: Condition) -> Sql:
    if text := _full_text(condition):
        return Sql(_HAS_WORDS, (text,))
    match condition:
        case Field():
            field = _of_stream(condition)
            text = f"l.stream IN (SELECT s.id FROM streams s WHERE {field.text})"  # noqa: S608 - values are parameters
            return Sql(text, field.parameters)
        case Kept(low, high):
            bounds = [Sql("l.id >= ?", (low,))] if low is not None else []
            bounds += [Sql("l.id < ?", (high,))] if high is not None else []
            return _bracketed(TRUE.joined(bounds, "AND"))
        case AllOf(parts):
            return _bracketed(TRUE.joined(map(_of_line, parts), "AND"))
        case AnyOf(parts):
            return _bracketed(FALSE.joined(map(_of_line, parts), "OR"))
        case NotSo(part):
            return _negated(_of_line(part))
    raise AssertionError(condition)


def _bracketed(sql: Sql) -> Sql:
    return Sql(f"({sql.text})", sql.parameters)


def _negated(sql: Sql) -> Sql:
    return Sql(f"NOT ({sql.text})", sql.parameters)
