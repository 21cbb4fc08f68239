"""Why a metric was not found in the output of an entry point, the lines that nearly report it, and what to do."""

import re
import shlex
from collections.abc import Iterable, Sequence

from blocks.domain.expressions import MAX_OWN_LINE_BYTES, OwnExpression, default_reports, own_reports
from blocks.domain.metric_names import Likeness, closest, is_number
from blocks.domain.metrics import number
from blocks.domain.near_misses import Judge, Kind, NearMiss, shown
from blocks.domain.plan import Frozen

MOST_LINES = 3
MOST_NAMES = 200
_MOST_JUDGED = 64
_BYTES_A_JUDGEMENT = 32 * 1024
"""So many places that may be meant are judged at first, then one in so many bytes, and one in each look."""
_IN_A_ROW = 8
"""After these the rest of a look is spread over all of the output."""
_STRIDE = 400
_NAMED = 8

_FIGURE = re.compile(rb"\d")
_FIGURES = re.compile(r"\d+")
_NO_NAME = re.compile(r"\W+")


class Diagnosis(Frozen):
    """Why a metric was not found.

    Attributes:
        message: One or two sentences.
        lines: Those that come nearest, the nearest first; inert, at most 200 characters each.
        suggestion: What to do, with what can be pasted.
    """

    message: str
    lines: tuple[str, ...]
    suggestion: str

    @property
    def text(self) -> str:
        """All of it on one line, with the nearest line alone."""
        nearest = f" The closest line: {self.lines[0]}" if self.lines else ""
        return f"{self.message}{nearest} What to do: {self.suggestion}"


class Hints:
    """Keeps, while output goes by, the few lines that come nearest to reporting a metric.

    Memory is bounded. The work for a piece of output is bounded too, but for one search through it by RE2, which is
    linear: however many lines look alike, a few dozen are judged. How output is cut into pieces may change which.

    Args:
        sought: The metric's name; empty for any metric.
        expressions: A user's own, which read the output; none for the default one.
        earlier: Whether there was output before, which somebody else has looked at.

    Raises:
        InvalidInputError: An expression is refused.
    """

    def __init__(self, sought: str = "", expressions: Sequence[str] = (), *, earlier: bool = False) -> None:
        self._sought = sought
        self._earlier = earlier
        self._own = [OwnExpression(expression) for expression in expressions]
        self._judge = Judge(sought, expressions)
        self._allowed = _MOST_JUDGED
        self._nearest: dict[str, NearMiss] = {}
        self._names: dict[str, str] = {}
        self._not_finite, self._last_text = False, ""
        self._lines, self._figures, self._last_line = 0, False, b""
        self.found = False
        """Whether a finite number was reported of the metric, or of any where none is sought."""

    def look(self, output: bytes, reports: Iterable[tuple[str, str]] = ()) -> None:
        """Look at whole lines of output, and at the names and texts of what was read from them, until it is found."""
        if self.found:
            return
        for name, text in reports:
            if (name == self._sought or not self._sought) and self._take(name, text):
                return
            if name not in self._names and len(self._names) < MOST_NAMES:
                self._names[name] = _line_with(name, output)
        self._lines += output.count(b"\n") + (output[-1:] not in (b"", b"\n"))
        self._figures = self._figures or bool(_FIGURE.search(output))
        if last := output[-MAX_OWN_LINE_BYTES:].rstrip().rpartition(b"\n")[2]:
            self._last_line = last
        self._look_for_near_misses(output)

    def diagnosis(self) -> Diagnosis:
        """Why it was not found, as far as the output tells."""
        if not self._last_line and self._earlier:
            return self._diagnosis(f"{self._head()}.", (), self._print_it())
        if not self._last_line:
            return self._diagnosis(
                "There is no output: the entry point has printed nothing.", (), f"{self._print_it()} {_BUFFERED}"
            )
        if self._not_finite:
            return self._of_not_finite()
        near = max(self._nearest.values(), key=lambda miss: miss.nearness, default=None)
        alike = closest(self._sought, self._names) if self._sought else None
        if alike and (near is None or near.nearness < (True, alike[1], Kind.OTHER_NAME)):
            return self._of_name(alike[0])
        return self._of_near_miss(near) if near else self._of_nothing()

    def _take(self, name: str, text: str) -> bool:
        """Whether this is what was sought."""
        if is_number(name):
            return False  # an expression with its groups swapped finds a metric called 0.3
        if number(text) is None:
            self._not_finite, self._last_text = True, text
        else:
            self.found = True
        return self.found

    def _look_for_near_misses(self, output: bytes) -> None:
        allowed = min(self._allowed + 1 + len(output) // _BYTES_A_JUDGEMENT, _MOST_JUDGED)
        at, judged = 0, 0
        while judged < allowed and (at := self._judge.next_trace(output, at)) >= 0:
            if miss := self._judge.judge(output, at):
                self._keep(miss)
            judged += 1
            line_end = output.find(b"\n", at)
            end = min(len(output) if line_end < 0 else line_end, at + _STRIDE)
            carriage_return = output.find(b"\r", at, end)
            at = end if carriage_return < 0 else carriage_return
            if judged >= _IN_A_ROW:
                at = max(at, len(output) * (judged - _IN_A_ROW) // (allowed - _IN_A_ROW + 1))
        self._allowed = allowed - judged

    def _keep(self, miss: NearMiss) -> None:
        """One of each shape, so that they are not all the same line of several epochs."""
        self._nearest.setdefault(_FIGURES.sub("0", miss.line), miss)
        if len(self._nearest) > MOST_LINES:
            del self._nearest[min(self._nearest, key=lambda shape: self._nearest[shape].nearness)]

    def _of_not_finite(self) -> Diagnosis:
        what = _quoted(self._sought) if self._sought else self._all_names()
        message = f"{what} was reported, but never as a finite number; the last value was {_quoted(self._last_text)}."
        lines = (self._names.get(self._sought, ""),) if self._sought else self._names.values()
        remedy = "Look at what the entry point computes: a value that is not finite is never used as a number."
        return self._diagnosis(message, lines, remedy)

    def _of_name(self, name: str) -> Diagnosis:
        message = f"{self._head()}, but {_quoted(name)} was."
        return self._diagnosis(message, [self._names[name]], self._renamed(name))

    def _of_nothing(self) -> Diagnosis:
        last = (shown(self._last_line),)
        if self._names:
            return self._diagnosis(f"{self._head()}. Found: {self._all_names()}.", (), self._print_it())
        count = f"{max(self._lines, 1):,} line{'s' if self._lines > 1 else ''}"
        nothing = "looks like a report of one" if self._figures else "has a number in it"
        return self._diagnosis(f"{self._head()}: of {count} none {nothing}.", last, self._print_it())

    def _of_near_miss(self, near: NearMiss) -> Diagnosis:
        name = _quoted(near.name)
        told = _MESSAGES[near.kind].format(name=name, value=_quoted(near.value))
        message = f"{self._head()}{', ' if near.kind is Kind.OTHER_NAME else '. '}{told}"
        misses = sorted(self._nearest.values(), key=lambda miss: miss.nearness, reverse=True)
        lines = [miss.line for miss in misses if miss.like >= min(near.like, Likeness.WORDS)]
        return self._diagnosis(message, lines, self._remedy(near))

    def _remedy(self, near: NearMiss) -> str:
        made = near.expression
        expression = shlex.quote(made) if made else ""
        match near.kind:
            case Kind.SWAPPED_GROUPS:
                return f"Use {expression or '(?P<value>...) and (?P<name>...)'} as the metric expression."
            case Kind.OWN_EXPRESSION:
                instead = f", or use {expression}" if expression else ""
                return f"Leave out the metric expressions{instead}."
            case Kind.OTHER_NAME if " " not in near.name:
                return self._renamed(near.name)
            case Kind.OTHER_NAME | Kind.OTHER_FORM if expression:
                seek = "" if near.like is Likeness.SAME else f", and the name {_quoted(near.name)}"
                instead = "" if self._own else " in place of the default one"
                return f"{self._print_it()} Or use the metric expression {expression}{instead}{seek}."
        return self._print_it()

    def _renamed(self, name: str) -> str:
        return f"If {_quoted(name)} is meant, give that as the metric's name. {self._print_it()}"

    def _print_it(self) -> str:
        """What to print, such that the expressions in use read it."""
        name = self._sought or "loss"
        if self._reads(name):
            return f"Print it so: {_print_call(name)}."
        if self._own:
            return "Print it as the metric expressions read it."
        other = _NO_NAME.sub("_", name).strip("_") or "metric"
        if not self._reads(other):
            other = f"metric_{other}"[:64]
        return f"Print it under another name: {_print_call(other)}."

    def _reads(self, name: str) -> bool:
        line = f"{name}=0.3".encode(errors="replace")
        reports = own_reports(self._own, line) if self._own else default_reports(line)
        return (name, "0.3") in [report[:2] for report in reports]

    def _head(self) -> str:
        return f"{_quoted(self._sought)} was not found in the output" if self._sought else "No metric was found"

    def _all_names(self) -> str:
        named = ", ".join(_quoted(name) for name in list(self._names)[:_NAMED])
        return named + (f" and {len(self._names) - _NAMED} more" if len(self._names) > _NAMED else "")

    def _diagnosis(self, message: str, lines: Iterable[str], suggestion: str) -> Diagnosis:
        return Diagnosis(message=message, lines=tuple(filter(None, lines))[:MOST_LINES], suggestion=suggestion)


_BUFFERED = (
    "Output that a program keeps back comes late or never: print with flush=True, start Python as `python -u`, other "
    "programs with `stdbuf -oL`."
)
_MESSAGES = {
    Kind.SWAPPED_GROUPS: "The metric expression takes {value} for the name and {name} for the value: its groups are "
    "the other way round.",
    Kind.OWN_EXPRESSION: "The metric expressions do not read {name} where the default one does.",
    Kind.OTHER_NAME: "but {name} is printed.",
    Kind.OTHER_FORM: "{name} is printed in a form that is not read.",
    Kind.NO_NUMBER: "{name} is printed with {value}, which is no number.",
    Kind.NO_VALUE: "{name} is printed without a value.",
    Kind.ON_NEXT_LINE: "The value of {name} is printed on the next line, and each line is read for itself.",
    Kind.HEADS_COLUMN: "{name} heads a column of a table, whose lines do not say what is what.",
    Kind.MENTIONED: "{name} is mentioned, with no number that is given to it.",
}


def _print_call(name: str) -> str:
    inside = name.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")
    return f'print(f"{inside}={{value}}", flush=True)'


def _quoted(text: str) -> str:
    return f'"{shown(text)}"'


def _line_with(name: str, output: bytes) -> str:
    at = output.find(name.encode(errors="replace"))
    if at < 0:
        return ""
    start = max(output.rfind(b"\n", max(at - 100, 0), at) + 1, at - 100, 0)
    return shown(output[start : at + _STRIDE].partition(b"\n")[0].strip(b"\r").partition(b"\r")[0])
