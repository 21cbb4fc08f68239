"""Reading a query as people write it, `category:"easymaker.training" AND logLevel:ERROR`, in the Lucene syntax.

What is allowed is small on purpose: AND, OR, NOT, parentheses, words, "phrases", field:value, `*` at the end of a word
or a value, and ranges of time. The rest is refused with its place in the query.
"""

import re
from dataclasses import dataclass
from typing import Any

from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse

from blocks.domain.errors import InvalidInputError
from blocks.domain.log_records import SOURCE_FIELDS, LogLevel
from blocks.logs.conditions import AllOf, AnyOf, Condition, Field, Kept, NotSo, Words
from blocks.logs.times import TIME_FORMS, time_span

MAX_BYTES = 1024
MAX_DEPTH = 40

BODY = "body"
LEVEL = "logLevel"
TIME = "time"
QUERY_FIELDS = (LEVEL, BODY, TIME, *SOURCE_FIELDS)
"""What a query may name."""

ALLOWED = (
    'Allowed are AND, OR, NOT, ( ), words, "phrases", field:value, field:(a OR b), * at the end, and '
    f"time:[A TO B]; fields are {', '.join(QUERY_FIELDS)}."
)

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WILDCARD = re.compile(r"(?<!\\)(?:\\\\)*[*?]")
_OPERATORS = ("&&", "||", "!", "&", "|")
_REFUSED = {
    tree.Regex: "regular expressions are not searched for",
    tree.Fuzzy: "similar words (~) are not searched for",
    tree.Proximity: "words near each other (~) are not searched for",
    tree.Boost: "what is found is ordered by time, so nothing can be weighted (^)",
}


def parse_query(text: str) -> Condition:
    """What `text` asks for; everything when it is empty or `*`.

    Raises:
        InvalidInputError: Where it cannot be taken and why, and what is allowed.
    """
    text = text.encode(errors="replace").decode().replace("\0", " ")
    if len(text.encode()) > MAX_BYTES:
        raise _refusal(text, None, f"it is longer than {MAX_BYTES:,} bytes")
    if text.strip() in ("", "*"):
        return AllOf()
    try:
        found = parse(text)
    except ParseError as error:
        raise _refusal(text, None, _grammar(text, str(error))) from error
    return _Reader(text).read(found, _Context())


@dataclass(frozen=True)
class _Context:
    """Where in the tree one is."""

    field: str = BODY
    depth: int = 0

    def inside(self, field: str = "") -> "_Context":
        return _Context(field or self.field, self.depth + 1)


class _Reader:
    """Turns luqum's tree of one query into ours."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, node: Any, context: _Context) -> Condition:
        """What a node asks for.

        Raises:
            InvalidInputError: It is nested too deeply, or of a kind that is not understood.
        """
        if context.depth > MAX_DEPTH:
            raise self._refuse(node, f"it is nested deeper than {MAX_DEPTH} levels")
        match node:
            case tree.AndOperation() | tree.UnknownOperation():
                return AllOf(self._parts(node, context))
            case tree.OrOperation():
                return AnyOf(self._parts(node, context))
            case tree.Not() | tree.Prohibit():
                return NotSo(self.read(node.a, context.inside()))
            case tree.Group() | tree.FieldGroup() | tree.Plus():
                return self.read(node.children[0], context.inside())
            case tree.SearchField():
                return self.read(node.expr, context.inside(self._field(node, context)))
            case tree.Range() | tree.From() | tree.To():
                return self._range(node, context)
            case tree.Phrase():
                return self._term(node, context, _unescaped(node.value[1:-1]), is_prefix=False)
            case tree.Word():
                return self._word(node, context)
        raise self._refuse(node, _REFUSED.get(type(node), "this is not searched for"))

    def _parts(self, node: Any, context: _Context) -> tuple[Condition, ...]:
        return tuple(self.read(child, context.inside()) for child in node.children)

    def _field(self, node: Any, context: _Context) -> str:
        if context.field != BODY:
            raise self._refuse(node, f"{node.name!r} stands inside of the field {context.field!r}")
        if node.name not in QUERY_FIELDS:
            near = [field for field in QUERY_FIELDS if field.lower() == node.name.lower()]
            but = f", but {near[0]!r}" if near else ""
            raise self._refuse(node, f"there is no field {node.name!r}{but}")
        return str(node.name)

    def _word(self, node: Any, context: _Context) -> Condition:
        value = node.value
        if value.startswith(_OPERATORS):
            raise self._refuse(node, "operators are written AND, OR and NOT")
        is_prefix = bool(re.search(r"(?<!\\)(?:\\\\)*\*$", value))
        value = value[:-1] if is_prefix else value
        if _WILDCARD.search(value):
            raise self._refuse(node, "a wildcard is a * at the end, nothing else (\\* and \\? are the characters)")
        return self._term(node, context, _unescaped(value), is_prefix=is_prefix)

    def _term(self, node: Any, context: _Context, value: str, *, is_prefix: bool) -> Condition:
        if context.field == TIME:
            raise self._refuse(node, f"time takes a range, e.g. time:[2026-11-23 TO *]; {TIME_FORMS}")
        if context.field == LEVEL:
            return self._level(node, value.upper(), is_prefix)
        if context.field != BODY:
            return Field(context.field, value, is_prefix)
        if not any(character.isalnum() for character in value):
            if is_prefix and not value:
                return AllOf()
            raise self._refuse(node, "it has neither a letter nor a digit, and only words are searched for")
        return Words(value, is_prefix)

    def _level(self, node: Any, value: str, is_prefix: bool) -> Condition:
        if not is_prefix and value not in list(LogLevel):
            raise self._refuse(node, f"a level is {', '.join(LogLevel)}")
        return Field(LEVEL, value, is_prefix)

    def _range(self, node: Any, context: _Context) -> Condition:
        if context.field != TIME:
            raise self._refuse(node, f"only {TIME} has ranges")
        match node:
            case tree.From():
                return Kept(low=self._bound(node.a, node.include, is_low=True))
            case tree.To():
                return Kept(high=self._bound(node.a, node.include, is_low=False))
        low = self._bound(node.low, node.include_low, is_low=True)
        return Kept(low, self._bound(node.high, node.include_high, is_low=False))

    def _bound(self, node: Any, included: bool, *, is_low: bool) -> int | None:
        """Where a range begins or ends, as the first moment that is in it, or no longer is."""
        text = _unescaped(node.value[1:-1] if isinstance(node, tree.Phrase) else str(node).strip())
        if text == "*":
            return None
        span = time_span(text)
        if span is None:
            raise self._refuse(node, f"{text!r} is no time; {TIME_FORMS}")
        first, behind = span
        return first if included is is_low else behind

    def _refuse(self, node: Any, why: str) -> InvalidInputError:
        return _refusal(self._text, node, why)


def _grammar(text: str, said: str) -> str:
    """What the parser says, with places as ours count them, and what mostly helps."""
    said = " ".join(said.split()).removeprefix("Syntax error in input : ").rstrip("!")
    if place := re.search(r"at position (\d+)", said):
        position = int(place[1])
        said = said.replace("unexpected ''", f"unexpected {text[position]!r}")  # it does not say which ~ or ^
        said = said.replace(place[0], f"at character {position + 1}")
    return (
        f'{said[:1].lower()}{said[1:]}; what has any of : ( ) [ ] {{ }} ~ ^ \' " stands in quotes, with \\" for a quote'
    )


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _refusal(text: str, node: Any, why: str) -> InvalidInputError:
    if node is None or node.pos is None:
        return InvalidInputError(f"The query {text[:80]!r}", why, ALLOWED)
    piece = text[node.pos : node.pos + min(node.size or 1, 60)].strip()
    return InvalidInputError(f"The query at character {node.pos + 1}, {piece!r}", why, ALLOWED)
