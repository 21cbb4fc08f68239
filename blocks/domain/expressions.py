r"""What finds metrics in the output of an entry point: the default expression, or a user's own ones.

The default is the reference's `([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)`, widened to what frameworks print:
`loss: 0.3`, `"loss":0.3`, `nan`, `-inf`, `tensor(0.3, device='cuda:0')`, `[0.3]`, `1,234.5`, `93.5%`, `12ms`. It leaves
out what only looks alike: an empty value, a list, a time, a date, a version, a host with its port, a file's name.

Users' expressions run on RE2, which cannot backtrack. The default one runs on the standard library's engine, whose
matches cost a third of RE2's in Python, in a form that cannot backtrack either: it starts at a separator (`=` or `:`),
every repetition is possessive, and the name is read backwards from the separator without a pattern. So each byte is
looked at a constant number of times. RE2 finds the few lines of a log that are worth that look.

All functions take output as bytes with `\n` between lines (see `plain_lines`) and treat it line by line, whatever else
stands in the same chunk: no class of theirs holds a line's end.
"""

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import merge
from itertools import chain

import re2

from blocks.domain.errors import InvalidInputError

Report = tuple[str, str, int | None]
"""A metric's name, its value as printed, and the step that its line names."""

MAX_LINE_BYTES = 64 * 1024
MAX_OWN_LINE_BYTES = 8 * 1024
"""Less, because what each match of an expression looks at may be all the rest of its line."""
MAX_NAME_BYTES = 128
MAX_VALUE_BYTES = 64
STRETCH_BYTES = 8 * 1024
"""Read from a hint on: a further hint costs as much as some KiB of reading, so a dense log should need few."""

STEP_NAMES = frozenset({"step", "global_step", "iteration", "iter", "epoch"})
"""What these are followed by is the step of their line's metrics and no metric itself."""

_COLOUR = re.compile(rb"\x1b\[[0-?]*+[ -/]*+[@-~]")

# Python before 3.11.5 errs where a possessive group can go back (gh-106052): they are atomic ones.
_NUMBER = rb"""
(?P<number>
  [+-]?+
  (?: (?: (?: \d{1,3}+(?>(?:,\d{3})+)(?!\d) | \d++(?>(?:_\d++)*) ) (?>(?:\.\d*+)?) | \.\d++ ) (?>(?:[eE][+-]?+\d++)?)
      (?>(?: % | (?<=\d)[A-Za-z]{1,3}+(?>(?:/[a-z]{1,3}+)?) )?)
    | (?i:nan|inf(?>(?:inity)?)) )
  (?! \w | [.:/-]\w )
)
"""
_VALUE = (
    rb"""
(?>(?: <tf\.Tensor:\ shape=\(\),\ dtype=\w{1,16}+,\ numpy=
  | (?>(?:(?:torch|tf|np|numpy|jnp|jax)\.)?)(?:[Tt]ensor|[Aa]rray|float\d*+|int\d*+)\( )?)
(?>(?P<bracket>[\[(][ \t]*+)?)
["']?+
"""
    + _NUMBER
    + rb"(?(bracket)(?=[ \t]*+[\])]))"
)
# Without a blank, `host:8080`, `file.py:12` and `16:20:31` are no metrics; `"loss":1` and `loss:0.3` are. Two digits
# before the colon are most likely a time's, and not worth a further look.
_BARE = rb"(?<!\d\d:)(?<![\"']:)(?=[+-]?+(?:\d*+\.\d|\d++[eE]|(?i:nan|inf)))"

# For RE2, which has neither verbose mode nor look-around: how all that `_VALUE` and `_BARE` match begins.
_VALUE_HINT = rb"""(?:<tf|(?:(?:[a-z]+\.)?[A-Za-z]+\d*\()?[\[(]?[ \t]*["']?[+-]?(?:\.?\d|(?i:nan|inf)))"""
_BARE_HINT = rb"[+-]?(?:\d*\.\d|\d+[eE]|(?i:nan|inf))"


class Form:
    """A way of writing a value: found by a hint at memory speed, then read by a pattern in the lines around.

    Args:
        hint: Matches wherever the pattern does, and seldom elsewhere. Its first one or two bytes are literal, because
            RE2 skips to the next place where they stand by vector instructions.
        separator: What the pattern has before the value.
    """

    def __init__(self, hint: bytes, separator: bytes) -> None:
        self._hint = re2.compile(hint)
        self.pattern = re.compile(separator + _VALUE, re.VERBOSE)
        self.number_group = self.pattern.groupindex["number"]

    def matches(self, lines: bytes) -> list[re.Match[bytes]]:
        """All, in order. A hint stands for a stretch of lines: where one metric is, others often follow."""
        found: list[re.Match[bytes]] = []
        end = 0
        while hint := self._hint.search(lines, end):
            end = _line_end(lines, hint.start() + STRETCH_BYTES)
            found += self.pattern.finditer(lines, hint.start(), end)
        return found


FORMS = (
    Form(rb"=[ \t]*" + _VALUE_HINT, rb"=[ \t]*+"),
    Form(rb":(?:[ \t]+" + _VALUE_HINT + rb"|" + _BARE_HINT + rb")", rb":(?:[ \t][ \t]*+|" + _BARE + rb")"),
    Form(rb'":' + _VALUE_HINT, rb':(?<=":)'),
    Form(rb"':" + _VALUE_HINT, rb":(?<=':)"),
)
_NUMBER_GROUP = FORMS[0].number_group

_EDGE_MARKS = "|/.@-"
_NAME_MARKS = "_" + _EDGE_MARKS
_NAME_BYTES = (string.ascii_letters + string.digits + _NAME_MARKS).encode() + bytes(range(0x80, 0x100))

_STEP_WORDS = (b"step", b"iter", b"epoch")
_STEP = re.compile(
    rb"""(?:(?<!\w)|(?<=global_))(?:step|iter(?>(?:ation)?)|epoch)["']?+[ \t]*+[:=\#]?+[ \t]*+[\[(]?[ \t]*+"""
    rb"""(\d{1,18}+)(?!\w|[.,]\d|-\w)""",
    re.VERBOSE,
)
_DIGITS = re.compile(rb"\d{1,18}")


def plain_lines(output: bytes, longest: int = MAX_LINE_BYTES) -> bytes:
    r"""Output with `\n` between lines: carriage returns end a line too, colours are dropped, longer lines are cut."""
    if b"\r" in output:
        output = output.replace(b"\r", b"\n")
    if b"\x1b" in output:
        output = _COLOUR.sub(b"", output)
    return b"\n".join(_cut(output, longest)) if _has_long_line(output, longest) else output


def default_reports(lines: bytes) -> Iterator[Report]:
    """The reports that the default expression finds, in order."""
    line_end, previous_end, step = -1, 0, None
    for match in _separated_values(lines):
        start, end = match.span()
        if start < previous_end:
            continue  # inside a value that was read already: `<tf.Tensor: ..., numpy=`
        if start > line_end:
            line_end = _line_end(lines, start)
            step = line_step(lines[lines.rfind(b"\n", 0, start) + 1 : line_end])
        # Backwards from the separator: blanks and quotes, then all that a name can hold.
        earliest = start - MAX_NAME_BYTES - 32
        before = lines[earliest if earliest > previous_end else previous_end : start].rstrip(b" \t\"'")
        name = _name(before[len(before.rstrip(_NAME_BYTES)) :])
        previous_end = end
        if name:
            yield name, match[_NUMBER_GROUP].decode("ascii"), step


def line_step(line: bytes) -> int | None:
    """The step that a line names: `step=5`, `global_step: 5`, `iteration 5`, `epoch=3`, `Epoch 3/10`, `Epoch [3]`.

    Steps and iterations come before epochs. A fraction of an epoch is no step.
    """
    lowered = line.lower()
    for word in _STEP_WORDS:
        at = lowered.find(word)
        while at >= 0:
            if match := _STEP.match(lowered, at):
                return int(match[1])
            at = lowered.find(word, at + 1)
    return None


class OwnExpression:
    """A user's regular expression: its first two groups, or groups called `name`, `value` and perhaps `step`.

    Raises:
        InvalidInputError: RE2 refuses it (the message is RE2's), or its groups do not say what is what.
    """

    def __init__(self, expression: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.never_nl = True
        try:
            # Line by line: `^` and `$` are a line's ends, and no class matches a line's end.
            self._pattern = re2.compile(b"(?m)" + expression.encode(), options)
        except (re2.error, UnicodeEncodeError) as error:
            raise _refused(expression, f"RE2 says: {_message(error)}") from error
        named = {name.decode(): index for name, index in self._pattern.groupindex.items()}
        if not ({"name", "value"} <= named.keys() or (self._pattern.groups >= 2 and not named)):
            raise _refused(expression, "its groups do not say which is the metric's name and which its value")
        self._name, self._value, self._step = named.get("name", 1), named.get("value", 2), named.get("step")
        # `\A`, `\z` and switched-off flags see where the text ends, so the text has to be one line.
        self._each_line = bool(re.search(r"\\[Az]|\(\?\w*-", expression))

    def reports(self, lines: bytes) -> Iterator[tuple[int, Report]]:
        """The reports, each with its place; the step is the expression's own one, else the line's."""
        if not self._each_line:
            yield from self._within(lines, 0)
            return
        at = 0
        for line in lines.split(b"\n"):
            yield from self._within(line, at)
            at += len(line) + 1

    def _within(self, lines: bytes, offset: int) -> Iterator[tuple[int, Report]]:
        line_end, line_names = -1, None
        for match in self._pattern.finditer(lines):
            name_start, name_end = match.span(self._name)
            value_start, value_end = match.span(self._value)
            # A group that took no part has the span (-1, -1), and so is empty.
            name = lines[name_start:name_end].strip()[:MAX_NAME_BYTES]
            value = lines[value_start:value_end].strip()[:MAX_VALUE_BYTES]
            if not name or not value:
                continue
            if value_start > line_end:
                line_end = _line_end(lines, value_start)
                line_names = line_step(lines[lines.rfind(b"\n", 0, value_start) + 1 : line_end])
            own = match.group(self._step) if self._step else b""
            step = int(own) if own and _DIGITS.fullmatch(own) else line_names
            yield offset + value_start, (name.decode(errors="replace"), value.decode(errors="replace"), step)


def own_reports(expressions: Sequence[OwnExpression], lines: bytes) -> Iterator[Report]:
    """What several expressions find, in the order of the output; what two of them find at one place counts once."""
    found = merge(*(expression.reports(lines) for expression in expressions), key=lambda item: item[0])
    place, names = -1, set[str]()
    for at, report in found:
        if at != place:
            place, names = at, set()
        if report[0] not in names:
            names.add(report[0])
            yield report


def _separated_values(lines: bytes) -> Iterable[re.Match[bytes]]:
    """What all forms find, in the order of the output."""
    found = [matches for form in FORMS if (matches := form.matches(lines))]
    return found[0] if len(found) == 1 else sorted(chain.from_iterable(found), key=re.Match.start)


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    """The metric that these bytes before a separator name; empty for a step, a number, and what is too long."""
    if len(raw) > MAX_NAME_BYTES:
        return ""
    name = raw.decode("utf-8", "replace")
    if not raw.isascii():
        # All bytes of other scripts passed; only their letters and digits belong to a name.
        name = name[len(name.rstrip(_NAME_MARKS + "".join(c for c in name if c.isalnum()))) :]
    name = name.strip(_EDGE_MARKS)
    is_number = name.replace(".", "").replace("-", "").isdigit()
    return "" if is_number or name.lower() in STEP_NAMES else name


def _line_end(lines: bytes, start: int) -> int:
    end = lines.find(b"\n", start)
    return len(lines) if end < 0 else end


def _has_long_line(output: bytes, longest: int) -> bool:
    start = 0
    while len(output) - start > longest:
        start = output.rfind(b"\n", start, start + longest + 1) + 1
        if not start:
            return True
    return False


def _cut(output: bytes, longest: int) -> Iterator[bytes]:
    """Pieces of whole lines; a line over the limit is cut into pieces of the limit."""
    start = 0
    while len(output) - start > longest:
        end = output.rfind(b"\n", start, start + longest + 1)
        if end < 0:
            end = start + longest
            yield output[start:end]
            start = end
        else:
            yield output[start:end]
            start = end + 1
    yield output[start:]


def _message(error: Exception) -> str:
    said = error.args[0]
    return said.decode(errors="replace") if isinstance(said, bytes) else str(error)


def _refused(expression: str, why: str) -> InvalidInputError:
    shown = expression[:200].encode(errors="replace").decode()  # as it is written, to be copied
    return InvalidInputError(
        f"The metric expression '{shown}' is refused",
        why,
        "Write it in RE2's syntax, which has no look-around ((?=, (?!, (?<=, (?<!) and no back-references (\\1), with "
        "the metric's name as first group and its value as second, or with groups (?P<name>...) and (?P<value>...).",
    )
