"""Pieces of the reports that the workflow UI shows. What users printed is shown as text, never as markup."""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

Curve = Sequence[tuple[float, float]]

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
"""What Markdown could take for markup; with a backslash in front it is text (CommonMark, section 2.4)."""

_DOTTED_POINTS = 3
"""A line through fewer points is hard to see, or is none; dots quadruple what a picture costs."""

_DRAWN_DIGITS = 12
"""No eye sees more of a number in a picture. With all of them two neighbours can be nearer to each other than the steps
by which pygal counts from one to the other: it would never end."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, most: int = 500) -> str:
    """A table, of whose cells so many characters are shown."""
    shown = partial(cell, most=most)
    lines = [map(shown, head), ["---"] * len(head), *(map(shown, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str, most: int = 500) -> str:
    """A text of anybody's, on one line and not too long."""
    printable = "".join(c if c.isprintable() else " " for c in text[:most])
    return _PUNCTUATION.sub(r"\\\g<0>", printable)


def chart(title: str, curves: Mapping[str, Curve], *, below: str | None = None) -> str:
    """Curves in one picture, which both of Prefect's UIs show when it is given like this.

    Empty where they reach so far, as to 1e300, that pygal cannot draw them.

    Args:
        title: Stands above.
        curves: By name; the names are shown when there are several.
        below: What the horizontal axis counts.
    """
    import pygal  # takes a tenth of a second

    most = max(map(len, curves.values()))
    picture = pygal.XY(
        width=720,
        height=260,
        title=title,
        x_title=below,
        show_legend=len(curves) > 1,
        show_dots=most < _DOTTED_POINTS,
        js=[],
    )
    try:
        for name, curve in _rounded(curves).items():
            picture.add(name, curve)
        return image(title, picture.render())
    except ArithmeticError:
        return ""


def _rounded(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The same, to the digits that are drawn of numbers as large as theirs."""
    across, up = map(_digits, zip(*chain.from_iterable(curves.values()), strict=True))
    return {name: [(round(x, across), round(y, up)) for x, y in curve] for name, curve in curves.items()}


def _digits(numbers: Iterable[float]) -> int:
    """To how many digits behind the point numbers of this size are drawn; negative for those before it."""
    largest = max(map(abs, numbers))
    return _DRAWN_DIGITS - math.ceil(math.log10(largest)) if largest else 0


def image(title: str, svg: bytes) -> str:
    """A picture within the text, as both of Prefect's UIs show it; nothing that is in it can act."""
    return f"![{cell(title)}](data:image/svg+xml;base64,{base64.b64encode(svg).decode()})"
