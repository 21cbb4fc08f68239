"""The report of a tuning and its pictures: bounded, and with everybody's texts as texts."""

import base64
import random
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Trial, Tuning
from tasks.tuning_plots import DRAWN_AXES, DRAWN_LINES, DRAWN_TRIALS, parallel_plot, progress_plot, tuning_plot
from tasks.tuning_report import tuning_report

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPACE = ("lr=DOUBLE[1e-4,1e-1,log]", "depth=INT[1,9]", "kernel=CATEGORICAL[rbf,linear,poly]")
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "</text><script>alert(1)</script> | [x](javascript:alert(1)) ![y](http://evil/z) <img src=x onerror=alert(1)> `"


def tuning(**settings: Any) -> Tuning:
    spec = {
        "name": "t",
        "algorithm": "s3://bucket/code",
        "entry_point": "train.py",
        "parameters": SPACE,
        "objective_metric": "loss",
        "max_trainings": 10_000,
    }
    return Tuning(
        id="tun-1", name="t", description="", experiment_id="exp-1", experiment_name="e", status=TuningStatus.RUNNING,
        reason="", tags={}, created=NOW, changed=NOW, started=NOW, ended=None, paused_seconds=0, completed=3, running=1,
        failed=0, killed=0, best_number=None, best_value=None, plan=None, learned=(), template=None,
        spec=TuningSpec.model_validate(spec | settings),
    )  # fmt: skip


def trial(number: int, objective: float | None, status: TrialStatus = TrialStatus.SUCCEEDED, **changes: Any) -> Trial:
    chance = random.Random(number)
    point = {
        "lr": repr(10 ** chance.uniform(-4, -1)),
        "depth": str(chance.randint(1, 9)),
        "kernel": chance.choice(("rbf", "linear", "poly")),
    }
    given: dict[str, Any] = {
        "tuning_id": "tun-1", "number": number, "training_id": f"trn-{number}", "status": status, "reason": "",
        "parameters": point, "objective": objective, "objective_step": 1, "runs": 1, "created": NOW,
        "changed": NOW + timedelta(seconds=number),
    }  # fmt: skip
    return Trial(**given | changes)


def many(count: int) -> list[Trial]:
    statuses = (TrialStatus.SUCCEEDED, TrialStatus.EARLY_STOPPED, TrialStatus.FAILED)
    chosen = [statuses[(number % 10 == 5) + 2 * (number % 10 == 7)] for number in range(1, count + 1)]
    return [
        trial(n, None if status is TrialStatus.FAILED else random.Random(n).random(), status, reason="exit code 1")
        for n, status in enumerate(chosen, 1)
    ]


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - ours


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in drawn(svg).iter(f"{SVG}text")]


def lines(svg: str) -> list[list[tuple[float, float]]]:
    found = [line.get("points", "").split() for line in drawn(svg).iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (corner.split(",") for corner in line)] for line in found]


def test_the_report_has_progress_pictures_importances_and_trials() -> None:
    report = tuning_report(tuning(), many(40))
    assert "of 10000 have run" in report
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", report)
    first, second = (base64.b64decode(picture).decode() for picture in pictures)
    assert "best so far" in texts(first)
    assert {"lr", "depth", "kernel", "rbf", "linear", "poly", "loss", "1e-4", "1e-1"} <= set(texts(second))
    shares = [int(share) for share in re.findall(r"\| \\-\\-\w+ \| (\d+)\\% \|", report)]
    assert len(shares) == 3
    assert 98 <= sum(shares) <= 102
    assert "| 40 | SUCCEEDED |" in report


def test_there_are_no_importances_of_fewer_than_ten_finished_trials() -> None:
    assert "Importance" not in tuning_report(tuning(), many(9))
    assert "Importance" not in tuning_report(tuning(), [trial(n, 1.0, TrialStatus.EARLY_STOPPED) for n in range(1, 30)])


def test_a_tuning_without_a_value_has_no_picture() -> None:
    nothing = [trial(1, None, TrialStatus.RUNNING), trial(2, None, TrialStatus.FAILED)]
    for found in ([], nothing):
        assert (progress_plot(tuning(), found), parallel_plot(tuning(), found), tuning_plot(tuning(), found)) == (
            "",
        ) * 3
        assert "data:image" not in tuning_report(tuning(), found)


@pytest.mark.parametrize("type", ["MINIMIZE", "MAXIMIZE"])
def test_the_line_of_the_best_so_far_only_gets_better(type: str) -> None:
    values = [3.0, 5.0, 1.0, 4.0, 7.0, 2.0]
    svg = progress_plot(tuning(objective_type=type), [trial(n, value) for n, value in enumerate(values, 1)])
    heights = [y for _, y in lines(svg)[-1]]
    assert heights == sorted(heights, reverse=type == "MAXIMIZE")  # in SVG, more is lower
    assert len(set(heights)) == {"MINIMIZE": 2, "MAXIMIZE": 3}[type]


def test_a_trial_that_diverged_leaves_room_for_the_others() -> None:
    trials = [trial(n, 1.0 + n / 100) for n in range(1, 20)] + [trial(20, 1e30)]
    dots = [
        dot
        for dot in drawn(progress_plot(tuning(), trials)).iter(f"{SVG}circle")
        if dot.find(f"{SVG}title") is not None
    ]
    heights = [float(dot.get("cy", "")) for dot in dots]
    assert max(heights) - min(heights[:-1]) > 50
    assert dots[-1].get("fill") == "#ffffff"  # hollow: beyond the scale


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324, 0.0], [1.0, 1.0], [0.0], [1e300, 1.0, 1e-300] * 5])
def test_any_finite_values_can_be_drawn(values: list[float]) -> None:
    svg = tuning_plot(tuning(), [trial(n, value) for n, value in enumerate(values, 1)])
    assert all(0 <= y <= 600 for line in lines(svg) for _, y in line)


def test_axes_are_logarithmic_where_the_parameter_is_and_lists_are_positions() -> None:
    space = ("lr=DOUBLE[1e-4,1,log]", "x=DOUBLE[0,4]", "size=DISCRETE[16,32,1024]")
    middle = {"lr": "0.01", "x": "2", "size": "32"}
    [line] = [
        line
        for line in lines(parallel_plot(tuning(parameters=space), [trial(1, 1.0, parameters=middle)]))
        if len(line) > 2
    ]
    heights = [y for _, y in line[:3]]
    assert heights == pytest.approx([heights[0]] * 3)


def test_the_best_trial_is_drawn_last_and_stands_out() -> None:
    found = [
        line
        for line in drawn(parallel_plot(tuning(), many(50))).iter(f"{SVG}polyline")
        if line.get("stroke-width") == "3"
    ]
    best = min((t for t in many(50) if t.objective is not None), key=lambda t: t.objective or 0)
    assert [line.findtext(f"{SVG}title", "").partition(",")[0] for line in found] == [f"trial {best.number}"]


def test_nobodys_text_is_markup_in_the_report_or_in_its_pictures() -> None:
    space = ({"name": "kernel", "type": "CATEGORICAL", "values": [EVIL, "\x01\u202e]]>&"]}, "x=INT[1,2]")
    row = tuning(parameters=space, objective_metric=EVIL)
    trials = [trial(n, 1.0 / n, parameters={"kernel": EVIL, "x": "1"}, reason=EVIL) for n in range(1, 12)]
    for svg in (progress_plot(row, trials), parallel_plot(row, trials), tuning_plot(row, trials)):
        tags = {element.tag.removeprefix(SVG) for element in drawn(svg).iter()}
        assert tags <= {"svg", "g", "rect", "text", "title", "circle", "polyline"}
        assert not [
            name for element in drawn(svg).iter() for name in element.attrib if name.startswith("on") or "href" in name
        ]
        assert "\u202e" not in svg
        assert "\x01" not in svg
    report = tuning_report(row, trials)
    outside = re.sub(r"\(data:image/svg\+xml;base64,[^)]+\)", "", report).replace("![", "", 2)
    for markup in ("<script", "<img", "](javascript", "](http://evil", " | [x]", "![y]"):
        assert re.search(rf"(?<!\\){re.escape(markup)}", outside) is None, markup


def test_what_is_drawn_is_bounded_and_so_are_size_and_time() -> None:
    names = [f"p{number}" for number in range(100)]
    wide = tuning(parameters=[f"{name}=DOUBLE[0,1]" for name in names])
    point = dict.fromkeys(names, "0.12345678901234567")
    for row, trials in (
        (tuning(), many(5_000)),
        (wide, [trial(n, 1.0 / n, parameters=point, reason="because " * 500) for n in range(1, 5_001)]),
    ):
        began = time.thread_time()
        report = tuning_report(row, trials)
        assert time.thread_time() - began < 5  # half a second on an idle machine
        assert len(report.encode()) < 300_000
        assert len(list(drawn(progress_plot(row, trials)).iter(f"{SVG}circle"))) <= DRAWN_TRIALS * 1.25 + 4
        corners = [line for line in lines(parallel_plot(row, trials)) if len(line) > 2]
        assert len(corners) == DRAWN_LINES
        assert max(map(len, corners)) <= DRAWN_AXES + 1
