"""A tuning in pictures: its trials with the best so far, and which values of the parameters did well.

They are built as XML, so that a name or a value of anybody's is text in them, whatever it holds; and what is drawn is
bounded, however many trials there are.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, SubElement, tostring

from blocks.domain.lifecycle import TRIAL_FAILED, TrialStatus
from blocks.domain.parameters import RANGES, ParameterSpec
from blocks.domain.trials import has_counting_value, ranked
from blocks.domain.tunings import ObjectiveType
from blocks.registry.records import Trial, Tuning

DRAWN_TRIALS = 500
DRAWN_LINES = 200
DRAWN_AXES = 12
DRAWN_VALUES = 16
"""Of a parameter with a list of values, so many are named on its axis."""
_LABEL = 22
"""Characters of a name or value that are shown."""

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 52, 40
_SUCCEEDED, _STOPPED, _FAILED, _BEST = "#1f6fb4", "#e08a1e", "#b22222", "#d6336c"
_PALE, _STRONG = (205, 211, 218), (31, 111, 180)

T = TypeVar("T")
Place = Callable[[float], float]
"""From a value to where it is drawn."""


def progress_plot(row: Tuning, trials: Sequence[Trial]) -> str:
    """The objective values of the trials by number, and the best of them so far, as SVG; empty while there is none."""
    picture = _picture(_HEIGHT)
    return _text_of(picture) if _draw_progress(picture, row, trials) else ""


def parallel_plot(row: Tuning, trials: Sequence[Trial]) -> str:
    """Parallel coordinates: a line through the values of each of the best trials, and of some others, as SVG."""
    picture = _picture(_HEIGHT)
    return _text_of(picture) if _draw_parallel(picture, row, trials) else ""


def tuning_plot(row: Tuning, trials: Sequence[Trial]) -> str:
    """Both in one picture, as SVG; empty while no trial has an objective value."""
    picture = _picture(2 * _HEIGHT)
    below = SubElement(picture, "g", transform=f"translate(0 {_HEIGHT})")
    drawn = _draw_progress(picture, row, trials)
    return _text_of(picture) if drawn and _draw_parallel(below, row, trials) else ""


def plot_file(home: Path, row: Tuning) -> Path:
    """Where the picture of a tuning is kept that nobody wants elsewhere; it is deleted with the tuning."""
    return home / "plots" / f"{row.name}.svg"


def _draw_progress(picture: Element, row: Tuning, trials: Sequence[Trial]) -> bool:
    known = list(filter(has_counting_value, trials))
    if not known:
        return False
    type, goal = row.spec.objective.type, row.spec.objective.goal
    low, high = _span([trial.objective or 0.0 for trial in known], type)
    x = _scale(0.5, max(trial.number for trial in trials) + 0.5, _LEFT, _WIDTH - _RIGHT)
    y = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    _title(picture, f"{row.spec.objective.metric} of the trials of {row.name} ({type.lower()})")
    _legend(picture, {"succeeded": _SUCCEEDED, "stopped early": _STOPPED, "failed": _FAILED, "best so far": _BEST})
    for value in _ticks(low, high):
        _line(picture, [(_LEFT, y(value)), (_WIDTH - _RIGHT, y(value))], "#e6e8eb")
        _write(picture, _LEFT - 6, y(value) + 4, f"{value:.4g}", anchor="end")
    for number in _ticks(1, max(trial.number for trial in trials)):
        if number == int(number):
            _write(picture, x(number), _HEIGHT - _BOTTOM + 16, str(int(number)))
    _write(picture, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "trial")
    if goal is not None and low <= goal <= high:
        _line(picture, [(_LEFT, y(goal)), (_WIDTH - _RIGHT, y(goal))], "#2b8a3e", dash="5 4")
        _write(picture, _WIDTH - _RIGHT, y(goal) - 4, "goal", anchor="end")
    for trial in _thinned([trial for trial in trials if trial.status in TRIAL_FAILED], DRAWN_TRIALS // 4):
        _dot(picture, x(trial.number), _HEIGHT - _BOTTOM, _FAILED, f"{trial.number}: {trial.status.lower()}")
    for trial in _thinned(known, DRAWN_TRIALS):
        value, colour = trial.objective or 0.0, _STOPPED if trial.status is TrialStatus.EARLY_STOPPED else _SUCCEEDED
        _dot(
            picture, x(trial.number), y(value), colour, f"{trial.number}: {value:.6g}", hollow=not low <= value <= high
        )
    _line(picture, _best_so_far(known, type, x, y, max(trial.number for trial in trials)), _BEST, width=2)
    return True


def _best_so_far(
    known: Sequence[Trial], type: ObjectiveType, x: Place, y: Place, last: int
) -> list[tuple[float, float]]:
    """A line with a step at each trial that was better than all before."""
    steps: list[tuple[float, float]] = []
    best = known[0].objective or 0.0
    for trial in known:
        value = trial.objective or 0.0
        if not steps or type.is_better(value, best):
            steps += [(x(trial.number), y(best))] if steps else []
            steps.append((x(trial.number), y(value)))
            best = value
    return [*_thinned(steps, DRAWN_TRIALS), (x(last), y(best))]


def _draw_parallel(picture: Element, row: Tuning, trials: Sequence[Trial]) -> bool:
    type, parameters = row.spec.objective.type, row.spec.search.parameters[:DRAWN_AXES]
    best_first = ranked(type, trials)
    if not best_first:
        return False
    hidden = len(row.spec.search.parameters) - len(parameters)
    _title(picture, "Parameters of the best trials" + (f" (and {hidden} parameters more)" if hidden else ""))
    width = (_WIDTH - 2 * _LEFT) / len(parameters)
    columns = [_LEFT + number * width for number in range(len(parameters) + 1)]
    low, high = _span([trial.objective or 0.0 for trial in best_first], type)
    y = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    places = [_axis(parameter) for parameter in parameters]
    shown = best_first[: DRAWN_LINES // 2] + _thinned(best_first[DRAWN_LINES // 2 :], DRAWN_LINES // 2)
    for number, trial in reversed(list(enumerate(shown))):
        heights = [place(trial.parameters.get(p.name, "")) for place, p in zip(places, parameters, strict=True)]
        corners = list(zip(columns, [*heights, y(trial.objective or 0.0)], strict=True))
        share = number / max(len(shown) - 1, 1)
        line = _line(picture, corners, _shade(1 - share), width=3 if number == 0 else 1)
        if number == 0:
            line.set("stroke", _BEST)
            SubElement(line, "title").text = f"trial {trial.number}, the best: {trial.objective:.6g}"
    for column, parameter, place in zip(columns, parameters, places, strict=False):
        _draw_axis(picture, column, parameter.name, _labels(parameter), place)
    ends = {f"{value:.4g}": y(value) for value in (low, high)}
    _draw_axis(picture, columns[-1], row.spec.objective.metric, list(ends), ends.__getitem__)
    return True


def _draw_axis(picture: Element, x: float, name: str, labels: Sequence[str], place: Callable[[str], float]) -> None:
    _line(picture, [(x, _TOP), (x, _HEIGHT - _BOTTOM)], "#495057")
    _write(picture, x, _HEIGHT - 12, name, bold=True)
    for label in labels:
        _write(picture, x + 4, place(label) + (12 if place(label) <= _TOP else -3), label, anchor="start")


def _axis(parameter: ParameterSpec) -> Callable[[str], float]:
    """Where the values of a parameter are on its axis: numbers by size or ratio, others in their order."""
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    if parameter.type not in RANGES:
        known = {value: float(number) for number, value in enumerate(parameter.values)}
        position = _scale(0, len(known) - 1, bottom, top)
        return lambda text: position(known.get(text, 0.0))
    if parameter.log:
        ratio = _scale(math.log(parameter.low), math.log(parameter.high), bottom, top)
        return lambda text: ratio(math.log(float(text)))
    linear = _scale(float(parameter.low), float(parameter.high), bottom, top)
    return lambda text: linear(float(text))


def _labels(parameter: ParameterSpec) -> list[str]:
    if parameter.type in RANGES:
        return list(dict.fromkeys((parameter.min, parameter.max)))
    few = len(parameter.values) <= DRAWN_VALUES
    return list(parameter.values if few else (parameter.values[0], parameter.values[-1]))


def _span(values: Sequence[float], type: ObjectiveType) -> tuple[float, float]:
    """From the best to the worst value that is worth its room: trials that diverged are drawn at the edge."""
    ordered = sorted(values, reverse=type is ObjectiveType.MAXIMIZE)
    best, most = ordered[0], ordered[int(0.8 * (len(ordered) - 1))]
    worst = ordered[-1]
    if most != best and abs(worst - best) > 3 * abs(most - best):
        worst = best + 3 * (most - best)
    low, high = sorted((best, worst))
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _scale(low: float, high: float, first: float, last: float) -> Place:
    """A linear scale; what lies outside is at its ends, and of no width all is in the middle."""
    width = high - low
    if not 0 < width < math.inf:
        return lambda _: (first + last) / 2
    return lambda value: first + (last - first) * min(max((value - low) / width, 0.0), 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Some round numbers between the two."""
    width = high - low
    if not 0 < width < math.inf:
        return [low]
    rough = width / 6
    power = 10.0 ** math.floor(math.log10(rough))
    sizes = [power, 2 * power, 5 * power, 10 * power]
    step = sizes[bisect_left(sizes, rough)]
    first = math.ceil(low / step)
    return [(first + number) * step for number in range(int((high - first * step) / step) + 1)] or [low]


def _thinned(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly spread, the last one among them."""
    if len(items) <= most:
        return list(items)
    return [items[(number + 1) * len(items) // most - 1] for number in range(most)]


def _shade(share: float) -> str:
    """From pale, at 0, to strong, at 1."""
    mixed = (round(pale + (strong - pale) * share) for pale, strong in zip(_PALE, _STRONG, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _picture(height: int) -> Element:
    picture = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": "sans-serif",
            "font-size": "11",
        },
    )
    SubElement(picture, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    return picture


def _title(picture: Element, text: str) -> None:
    _write(picture, _WIDTH / 2, 18, text, bold=True, most=90)


def _legend(picture: Element, colours: dict[str, str]) -> None:
    for number, (name, colour) in enumerate(colours.items()):
        x = _LEFT + 110 * number
        _dot(picture, x, 34, colour)
        _write(picture, x + 8, 38, name, anchor="start")


def _dot(picture: Element, x: float, y: float, colour: str, title: str = "", *, hollow: bool = False) -> None:
    """A dot; a hollow one stands for a value beyond the scale."""
    drawn = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3", "fill": "#ffffff" if hollow else colour}
    dot = SubElement(picture, "circle", drawn | ({"stroke": colour} if hollow else {}))
    if title:
        SubElement(dot, "title").text = title


def _line(
    picture: Element, corners: Sequence[tuple[float, float]], colour: str, *, width: int = 1, dash: str = ""
) -> Element:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    drawn = {"points": points, "fill": "none", "stroke": colour, "stroke-width": str(width)}
    return SubElement(picture, "polyline", drawn | ({"stroke-dasharray": dash} if dash else {}))


def _write(
    picture: Element, x: float, y: float, text: str, *, anchor: str = "middle", bold: bool = False, most: int = _LABEL
) -> None:
    """A text of anybody's, on one line and not too long."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    shown = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor} | ({"font-weight": "bold"} if bold else {})
    shown |= {"stroke": "#ffffff", "stroke-width": "3", "paint-order": "stroke"}  # to be read in front of lines
    SubElement(picture, "text", shown).text = printable if len(printable) <= most else f"{printable[: most - 1]}…"


def _text_of(picture: Element) -> str:
    return tostring(picture, encoding="unicode")
