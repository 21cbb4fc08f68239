"""From a query to SQL and back to a page: filters, order, and cursors that stay put when rows come and go.

A page begins after the last item of the page before, by its sort key and id, so no page costs more than the first, and
what is added or removed meanwhile moves nothing else.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from blocks.domain.errors import InvalidInputError
from blocks.registry.reading import Reader, Row
from blocks.registry.records import Page, Query

MAX_LIMIT = 1000
RARE = 1000
SORTS = {"created": "created_us", "changed": "changed_us", "name": "name", "status": "status"}
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Listing:
    """What can be listed.

    Attributes:
        kind: Its name in messages, and of its table, which is called `t` here.
        columns: What is selected.
        source: The tables.
        statuses: What its status can be; None when it has none.
        tagged: Whether `t.tags` holds its tags.
        tags: The table by which a rare tag is found, with a column `{kind}_id`; empty where there are few rows.
        grouped: Whether it belongs to an experiment.
        only: A condition on what is listed at all.
    """

    kind: str
    columns: str
    source: str
    statuses: type[StrEnum] | None = None
    tagged: bool = False
    tags: str = ""
    grouped: bool = False
    only: str = ""


@dataclass
class _Where:
    """Conditions, all of which must hold, and their parameters."""

    conditions: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, parameters: Mapping[str, Any]) -> None:
        self.conditions.append(condition)
        self.parameters |= parameters

    @property
    def sql(self) -> str:
        return " AND ".join(self.conditions) or "1 = 1"


def list_page(listing: Listing, query: Query, reader: Reader, record: Callable[[Row], ItemT]) -> Page[ItemT]:
    """A page of the list.

    Args:
        listing: What is listed.
        query: Its `experiment`, when given, is an id.
        reader: The database.
        record: Makes an item of a row.

    Raises:
        InvalidInputError: An unknown status or order, a filter that this kind has not, a limit out of range, or a
            cursor that is not one of this list's.
    """
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidInputError(f"limit {query.limit}", "it is out of range", f"Ask for 1 to {MAX_LIMIT} at once.")
    column, descending = _order(listing, query.sort)
    where = _Where([listing.only] if listing.only else [])
    way, beyond = ("DESC", "<") if descending else ("ASC", ">")
    if query.cursor:
        value, id = _decode(query, column)
        # The first half lets the index begin at the right place, the second settles ties.
        after = f"(t.{column} {beyond}= :after AND (t.{column} {beyond} :after OR t.id {beyond} :after_id))"
        where.add(after, {"after": value, "after_id": id})
    _filter(where, listing, query, reader)
    sql = (
        f"SELECT {listing.columns} FROM {listing.source} WHERE {where.sql} "  # noqa: S608 - no text of the user's in it
        f"ORDER BY t.{column} {way}, t.id {way} LIMIT {query.limit + 1}"
    )
    rows = reader.rows(sql, **where.parameters)
    more = len(rows) > query.limit
    shown = rows[: query.limit]
    cursor = _encode(query, shown[-1][column], shown[-1]["id"]) if more else ""
    return Page(items=tuple(map(record, shown)), cursor=cursor)


def tag_hash(value: str) -> int:
    """What a tag's value is looked up by."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big", signed=True)


def join_tags(tags: Mapping[str, str]) -> str:
    """Tags as a row keeps them: each a line of JSON, so that one can be looked for as text."""
    return "\n" + "".join(f"{json.dumps(pair)}\n" for pair in sorted(tags.items()))


def split_tags(text: str) -> dict[str, str]:
    """The tags that a row keeps."""
    return dict(json.loads(line) for line in text.splitlines() if line)


def _filter(where: _Where, listing: Listing, query: Query, reader: Reader) -> None:
    if query.status:
        _has(listing, listing.statuses is not None, "status")
        _filter_status(where, listing, query.status, reader)
    if query.name:
        _filter_name(where, query.name.lower(), reader)
    if query.experiment:
        _has(listing, listing.grouped, "experiment")
        where.add("t.experiment_id = :experiment", {"experiment": query.experiment})
    for n, (name, value) in enumerate(sorted(query.tags.items())):
        _has(listing, listing.tagged, "tag")
        _filter_tag(where, listing, n, (name, value), reader)


def _filter_name(where: _Where, name: str, reader: Reader) -> None:
    escaped = "".join(f"!{c}" if c in "!%_" else c for c in name)
    if "*" in name or "?" in name:
        wild = escaped.replace("*", "%").replace("?", "_")
        where.add("lower(t.name) LIKE :pattern ESCAPE '!'", {"pattern": wild})
    else:
        where.add(reader.driver.has_part, {"part": name, "pattern": f"%{escaped}%"})


def _filter_status(where: _Where, listing: Listing, statuses: Sequence[str], reader: Reader) -> None:
    names = {f"status_{n}": _status(listing, status) for n, status in enumerate(statuses)}
    condition = f"status IN ({', '.join(f':{name}' for name in names)})"
    found = f"SELECT id FROM {listing.kind} WHERE {condition}"  # noqa: S608 - no text of the user's in it
    if len(names) > 1 and not _is_rare(reader, found, names):
        # An index on several statuses would give an order of its own, and everything would have to be sorted.
        condition = condition.replace("status", "status || ''", 1)
    where.add(f"t.{condition}", names)


def _filter_tag(where: _Where, listing: Listing, n: int, tag: tuple[str, str | None], reader: Reader) -> None:
    name, value = tag
    condition = f"name = :tag_{n}"
    parameters: dict[str, Any] = {f"tag_{n}": name}
    if value is not None:
        condition += f" AND value_hash = :hash_{n} AND value = :value_{n}"
        parameters |= {f"hash_{n}": tag_hash(value), f"value_{n}": value}
    found = f"SELECT {listing.kind}_id FROM {listing.tags} WHERE {condition}"  # noqa: S608 - no text of the user's in it
    if listing.tags and _is_rare(reader, found, parameters):
        where.add(f"t.id IN ({found})", parameters)
        return
    line = json.dumps([name, value]) if value is not None else json.dumps([name])[:-1] + ", "
    where.add(f"{reader.driver.find}(t.tags, :line_{n}) > 0", {f"line_{n}": f"\n{line}"})


def _is_rare(reader: Reader, select: str, parameters: Mapping[str, Any]) -> bool:
    """Whether so few rows match that looking each up and sorting them beats going through the list in its order."""
    counted = reader.row(f"SELECT count(*) AS n FROM ({select} LIMIT {RARE + 1}) AS found", **parameters)  # noqa: S608 - no text of the user's in it
    return counted is not None and counted["n"] <= RARE


def _has(listing: Listing, has: bool, what: str) -> None:
    if not has:
        raise InvalidInputError(f"filter by {what}", f"a list of {listing.kind}s has no such filter", "Leave it out.")


def _status(listing: Listing, status: str) -> str:
    allowed = [known.value for known in listing.statuses or ()]
    if status not in allowed:
        one_of = f"Use one of: {', '.join(allowed)}."
        raise InvalidInputError(f"status {status!r}", f"no {listing.kind} has it", one_of)
    return status


def _order(listing: Listing, sort: str) -> tuple[str, bool]:
    known = {name: column for name, column in SORTS.items() if listing.statuses or name != "status"}
    column = known.get(sort.removeprefix("-"))
    if column is None:
        allowed = ", ".join(known)
        raise InvalidInputError(
            f"order {sort!r}", "it is unknown", f"Sort by one of: {allowed}; with '-' in front the other way round."
        )
    return column, sort.startswith("-")


def _digest(query: Query) -> str:
    """Which list a cursor belongs to: the same filters in the same order."""
    parts = [sorted(query.status), query.name, sorted(query.tags.items()), query.experiment, query.sort]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()


def _encode(query: Query, value: str | int, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(query), value, id]).encode()).decode().rstrip("=")


def _decode(query: Query, column: str) -> tuple[str | int, str]:
    kind = int if column.endswith("_us") else str
    try:
        padded = query.cursor.encode("ascii") + b"=" * (-len(query.cursor) % 4)
        digest, value, id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeError, ValueError, TypeError, RecursionError):
        digest = value = id = None
    if type(value) is not kind or type(id) is not str or not _storable(value) or not _storable(id):
        raise InvalidInputError("cursor", "it is broken", "Give `cursor` of the page before as it is, or none.")
    if digest != _digest(query):
        raise InvalidInputError(
            "cursor", "it belongs to a list with other filters or another order", "Begin again without a cursor."
        )
    return value, id


def _storable(value: object) -> bool:
    """Whether a database takes it as a parameter."""
    return -(1 << 63) <= value < 1 << 63 if isinstance(value, int) else str(value).isprintable()
