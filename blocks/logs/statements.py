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

_COLUMNS = "l.id, l.stream, l.body"
_LISTED = "IN (SELECT value FROM json_each(?))"
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
        rest: On lines: what needs several of these.
        low: The first id.
        high: The id behind the last one.
    """

    streams: Sql
    words: str
    rest: Sql
    low: int
    high: int


def split(condition: Condition, low: int, high: int) -> Split:
    """The parts of a condition on lines with an id from `low` on and below `high`."""
    fields, texts, rest = [], [], []
    for part in dict.fromkeys(_flattened(condition)):
        if isinstance(part, Kept):
            low = max(low, part.low or low)
            high = min(high, high if part.high is None else part.high)
        elif _is_about_fields(part):
            fields.append(_of_stream(part))
        elif text := _full_text(part):
            texts.append(text)
        else:
            rest.append(_of_line(part))
    return Split(TRUE.joined(fields, "AND"), " AND ".join(texts), TRUE.joined(rest, "AND"), low, high)


def chosen_streams(parts: Split) -> Sql:
    """Id and number of lines of each stream that can have a match."""
    text = f"SELECT s.id, s.lines FROM streams s WHERE {parts.streams.text}"  # noqa: S608 - values are parameters
    return Sql(text, parts.streams.parameters)


def newest(parts: Split, streams: dict[int, int], total: int, limit: int) -> Sql:
    """The newest lines that match: id, stream, body.

    Args:
        parts: What is asked for.
        streams: Those that can have a match, with their numbers of lines.
        total: Lines of all streams.
        limit: How many.
    """
    count = sum(streams.values())
    found = _from_words(parts, streams) if parts.words and count > FEW else _from_lines(parts, streams, total, limit)
    return Sql(f"{found.text} DESC LIMIT ?", (*found.parameters, limit))


def _from_words(parts: Split, streams: Iterable[int]) -> Sql:
    """From the words' list, which is in the order of the ids, to the lines."""
    matching = Sql("words MATCH ? AND w.rowid >= ? AND w.rowid < ?", (parts.words, parts.low, parts.high))
    where = matching.joined([_among("l.stream", streams), parts.rest], "AND")
    source = "words w CROSS JOIN lines l ON l.id = w.rowid"
    text = f"SELECT {_COLUMNS} FROM {source} WHERE {where.text} ORDER BY w.rowid"  # noqa: S608 - values are parameters
    return Sql(text, where.parameters)


def _from_lines(parts: Split, streams: dict[int, int], total: int, limit: int) -> Sql:
    """Over the lines: by the index of streams when they are few, else from the newest on, where a match is near."""
    count = sum(streams.values())
    is_indexed = count <= FEW or count * count < limit * total
    conditions = [
        _among("l.stream" if is_indexed else "+l.stream", streams),
        parts.rest,
    ]  # + keeps SQLite off the index
    if parts.words:  # a beginning's words are put together anew for each line that is asked about
        conditions.append(Sql(_HAS_WORDS if "*" in parts.words else _HAS_WORDS_HERE, (parts.words,)))
    where = Sql("l.id >= ? AND l.id < ?", (parts.low, parts.high)).joined(conditions, "AND")
    text = f"SELECT {_COLUMNS} FROM lines l WHERE {where.text} ORDER BY l.id"  # noqa: S608 - values are parameters
    return Sql(text, where.parameters)


def _among(column: str, streams: Iterable[int]) -> Sql:
    return Sql(f"{column} {_LISTED}", (json.dumps(list(streams)),))


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
            texts = [_full_text(part) for part in dict.fromkeys(parts)]
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
