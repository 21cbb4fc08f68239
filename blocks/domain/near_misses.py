"""Lines of output that nearly reported a metric: what keeps each from it, and an expression that would read it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from itertools import islice

from blocks.domain import expression_drafts
from blocks.domain.expressions import STEP_NAMES, OwnExpression, default_reports, own_reports, plain_lines
from blocks.domain.metric_names import COMMON_WORDS, Likeness, around, is_number, likeness, trace_of, words

SHOWN_CHARACTERS = 200
_BEFORE_BYTES, _AFTER_BYTES, _NEXT_BYTES = 160, 400, 400
"""Looked at around what may be a metric: however long lines are, judging one costs the same."""
_MOST_TRACES = 8
_SHOWN_VALUE = 24

_NUMBER = r"(?P<number>[+-]?(?:(?:\d[\d,_]*+(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+%?+|(?i:nan|inf)))"
_NUMBER_AT = re.compile(rf"""["'\[(]{{0,2}}{_NUMBER}(?!\w|[.:/-]\w|\]\s*[=:])""")
_ASSIGNED = re.compile(r"""["'\])]{0,2}+\s*+[=:]++>?+\s*+""")
_NEXT_NAME = re.compile(r"""[,;|}\]]|["']?[^\W\d][\w/.]*+["']?\s*+[=:]""")
_GAP = r"""(?>(?:[\s"'|│┃:=>→,()\[\]]|-(?=[>\s]))*)"""  # see `expressions._NUMBER`
_SOFT_GAP = re.compile(rf"{_GAP}(?:(?:is|was|of|at|now|reached|value|mean|avg|average)\b{_GAP}){{0,2}}+", re.IGNORECASE)
_NUMBER_BEFORE = re.compile(
    r"""(?<![\w.])(?P<number>[+-]?\d{1,20}(?:\.\d{1,30}|[eE][+-]?\d{1,3}|%))(?P<gap>\s{1,8}["'(]?)$"""
)
_RULE = re.compile(r"[\s|+=:─━┼│╪═-]++")
_ROW = re.compile(r"[\s|│┃]*+[+-]?(?:\d|\.\d)")
_LONG_WORD = re.compile(r"[^\W\d]{4}")
_VALUE_END = re.compile(r"[,;}\]]|\s\s|\t")
_FIGURES = re.compile(r"\d[\d.]*+")


Draft = Callable[[], str]
"""Makes an expression and tries it out: half of what a near miss costs, so only for lines that are told of."""


class Kind(IntEnum):
    """What keeps a line from being a report, the farthest from one first."""

    MENTIONED = 0
    HEADS_COLUMN = 1
    ON_NEXT_LINE = 2
    NO_VALUE = 3
    NO_NUMBER = 4
    OTHER_FORM = 5
    OTHER_NAME = 6
    OWN_EXPRESSION = 7
    SWAPPED_GROUPS = 8


@dataclass(frozen=True)
class NearMiss:
    """A line that is nearly a report.

    Attributes:
        kind: What keeps it from being one.
        like: How near the name comes.
        name: As it is printed.
        value: As it is printed; empty where there is none.
        line: Cut to 200 characters, control characters made visible.
    """

    kind: Kind
    like: Likeness
    name: str
    value: str
    line: str
    draft: Draft = field(repr=False, compare=False)

    @property
    def expression(self) -> str:
        """One that reads this line, tried out; empty where there is none."""
        return self.draft()

    @property
    def nearness(self) -> tuple[bool, int, int]:
        """To sort by: what comes with a value stands before all that only mentions the metric."""
        return self.kind is not Kind.MENTIONED, self.like, self.kind


class Judge:
    """Says what keeps lines from reporting a metric.

    Args:
        sought: The metric's name; empty for any.
        expressions: A user's own; none for the default one.

    Raises:
        InvalidInputError: An expression is refused.
    """

    def __init__(self, sought: str, expressions: Sequence[str] = ()) -> None:
        self._sought = sought
        self._trace = trace_of(sought)
        self._texts = tuple(expressions)
        self._own = [OwnExpression(expression) for expression in expressions]

    def next_trace(self, output: bytes, start: int) -> int:
        """Where, from `start` on, something may be meant for the metric; -1 when nothing is."""
        found = self._trace.search(output, start)
        return found.start() if found else -1

    def judge(self, output: bytes, at: int) -> NearMiss | None:
        """What is wrong with the line of such a place; None when it is a report, or far from one."""
        earliest = max(at - _BEFORE_BYTES, 0)
        start = max(output.rfind(b"\n", earliest, at), output.rfind(b"\r", earliest, at), earliest - 1) + 1
        seen = output[start : at + _AFTER_BYTES + _NEXT_BYTES]
        line, _, rest = plain_lines(seen).partition(b"\n")
        line = line[: _BEFORE_BYTES + _AFTER_BYTES]
        if swapped := self._swapped(line):
            return swapped
        read = {name for name, _, _ in (own_reports(self._own, line) if self._own else default_reports(line))}
        if read if not self._sought else self._sought in read:
            return None
        return max(self._misses(line, _next_line(rest), read), key=lambda miss: miss.nearness, default=None)

    def _misses(self, line: bytes, following: str, read: set[str]) -> Iterator[NearMiss]:
        by_default = {name: value for name, value, _ in default_reports(line)} if self._own else {}
        for found in islice(self._trace.finditer(line), _MOST_TRACES):
            text = _cut(line, found.start(), found.end() if self._sought else found.start() + 1, following)
            like = likeness(text.name, self._sought)
            if like is Likeness.NONE or not self._is_metric(text.name, line[found.start() : found.end()]):
                continue
            kind, value, draft = text.found(read)
            if text.name in by_default and like is Likeness.SAME:
                kind, value = Kind.OWN_EXPRESSION, by_default[text.name]
                draft = text.draft(value)
            if kind is not Kind.MENTIONED or (self._sought and like > Likeness.PART):
                yield NearMiss(kind, like, text.name, value, shown(line, len(text.before)), draft)

    def _is_metric(self, name: str, trace: bytes) -> bool:
        """Where no certain metric is sought: whether the name is one's, or is given a number."""
        if self._sought:
            return True
        common = not COMMON_WORDS.isdisjoint(words(name))
        return common or not (trace.isalnum() or is_number(name) or name.lower() in STEP_NAMES)

    def _swapped(self, line: bytes) -> NearMiss | None:
        """Whether an own expression takes a number for the name, and the name for the value."""
        for expression, text in zip(self._own, self._texts, strict=True):
            for _, (name, value, _) in expression.reports(line):
                if is_number(name) and not is_number(value) and likeness(value, self._sought) > Likeness.PART:
                    draft = partial(expression_drafts.right_way_round, text)
                    return NearMiss(Kind.SWAPPED_GROUPS, Likeness.SAME, value, name, shown(line), draft)
        return None


def shown(line: bytes | str, near: int = 0) -> str:
    """A line as it may be shown anywhere: control characters made visible, at most 200 characters around `near`."""
    text = (line.decode(errors="replace") if isinstance(line, bytes) else line).rstrip()
    start = max(0, min(near - SHOWN_CHARACTERS // 2, len(text) - SHOWN_CHARACTERS))
    visible = "".join(map(_visible, text[start : start + SHOWN_CHARACTERS]))
    return visible if len(visible) <= SHOWN_CHARACTERS else visible[: SHOWN_CHARACTERS - 1] + "…"


@dataclass(frozen=True)
class _Text:
    """A line cut at a metric's name, and the line after it."""

    before: str
    name: str
    after: str
    following: str

    def found(self, read: set[str]) -> tuple[Kind, str, Draft]:
        """What is wrong, the value that is printed, and what makes an expression that reads it."""
        if assigned := _ASSIGNED.match(self.after):
            return self._assigned(self.after[assigned.end() :], read)
        gap = _SOFT_GAP.match(self.after)
        if gap and gap.end() and (at := _NUMBER_AT.match(self.after, gap.end())):
            return Kind.OTHER_FORM, at["number"], self.draft(at["number"])
        if _ROW.match(self.following):
            if not self.after.strip():
                return Kind.ON_NEXT_LINE, "", str
            if len(_FIGURES.findall(self.following)) > 1 and not _LONG_WORD.search(self.following):
                return Kind.HEADS_COLUMN, "", str
        if first := _NUMBER_BEFORE.search(self.before):
            number = first["number"]
            return Kind.OTHER_FORM, number, partial(expression_drafts.value_before, number, first["gap"], self.name)
        return Kind.MENTIONED, "", str

    def draft(self, number: str) -> Draft:
        """What makes an expression that reads this number."""
        between, found, rest = self.after.partition(number)
        return partial(expression_drafts.value_after, self.name, between, found + rest)

    def _assigned(self, rest: str, read: set[str]) -> tuple[Kind, str, Draft]:
        if not rest.strip():
            return (Kind.ON_NEXT_LINE if _ROW.match(self.following) else Kind.NO_VALUE), "", str
        if (at := _NUMBER_AT.match(rest)) and not _begins_list(rest, at.end()):
            known = self.name in read or self.name.split()[-1] in read
            return (Kind.OTHER_NAME if known else Kind.OTHER_FORM), at["number"], self.draft(at["number"])
        if _NEXT_NAME.match(rest):
            return Kind.NO_VALUE, "", str
        return Kind.NO_NUMBER, _value(rest), str


def _cut(line: bytes, start: int, end: int, following: str) -> _Text:
    """The line cut at the whole name of which a part stands there."""
    before, part, after = (piece.decode(errors="replace") for piece in (line[:start], line[start:end], line[end:]))
    left, right = around(before, after)
    return _Text(before[: len(before) - len(left)], left + part + right, after[len(right) :], following)


def _next_line(rest: bytes) -> str:
    """The next line that is no rule of a table."""
    for line in rest.split(b"\n")[:2]:
        text = line.decode(errors="replace")
        if text.strip() and not _RULE.fullmatch(text):
            return text
    return ""


def _begins_list(rest: str, number_end: int) -> bool:
    return rest[0] in "[(" and rest[number_end:].lstrip().startswith(",")


def _value(rest: str) -> str:
    """What is printed as a value that is none."""
    if rest[0] in "[({<":
        return shown(rest[:_SHOWN_VALUE])
    return shown(_VALUE_END.split(rest[:_SHOWN_VALUE], maxsplit=1)[0])


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "replace").decode()
