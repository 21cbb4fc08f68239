"""Metric expressions made from one line of output, each tried out on that line before anybody is told of it."""

import re

from blocks.domain.errors import InvalidInputError
from blocks.domain.expressions import OwnExpression
from blocks.domain.metric_names import is_number

_VALUE = r"[-+.\w]+"
_BLANKS = re.compile(r"\s+")
_SPECIAL = re.compile(r"([\\.^$|?*+()\[\]{}])")
_CAPTURES = re.compile(r"(?<!\\)\((?!\?)")


def value_after(name: str, between: str, rest: str) -> str:
    """An expression that reads the number with which `rest` begins; empty when there is none that does."""
    if not between:
        return ""
    made = rf"{_start(name)}({_literal(name)}){_generalised(between)}({_VALUE})"
    return made if _reads(made, name + between + rest, name, rest) else ""


def value_before(number: str, between: str, name: str) -> str:
    """The same for a number that stands before its name."""
    made = rf"(?P<value>{_VALUE})%?{_generalised(between)}(?P<name>{_literal(name)})"
    return made if _reads(made, number + between + name, name, number) else ""


def right_way_round(expression: str) -> str:
    """The expression with its first group as the value and its second as the name; empty when it is not as simple."""
    names = iter(("(?P<value>", "(?P<name>"))
    made = _CAPTURES.sub(lambda _: next(names, "("), expression)
    try:
        OwnExpression(made)
    except InvalidInputError:
        return ""
    return made


def _reads(expression: str, line: str, name: str, number: str) -> bool:
    if not expression.isprintable():
        return False
    try:
        found = [report for _, report in OwnExpression(expression).reports(line.encode(errors="replace"))]
    except InvalidInputError:
        return False
    return any(read == name and number.startswith(value) and is_number(value) for read, value, _ in found)


def _start(name: str) -> str:
    """Not inside of a longer word."""
    return r"\b" if name[:1].isascii() and name[:1].isalnum() else ""


def _generalised(text: str) -> str:
    """The text with any blanks for its blanks."""
    return r"\s+".join(map(_literal, _BLANKS.split(text)))


def _literal(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
