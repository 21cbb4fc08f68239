from blocks.registry.records import Series
from tasks.page_log import MOST_METRICS, metrics_line


def series(name: str, step: int, text: str) -> Series:
    figures = dict.fromkeys(("first", "last", "min", "min_step", "max", "max_step"))
    return Series(name=name, count=1, not_finite=1, first_step=step, last_step=step, last_text=text, **figures)


def test_the_latest_metrics_are_one_line_as_they_were_printed() -> None:
    assert (
        metrics_line([series("loss", 100, "nan"), series("accuracy", 90, "9e-1")]) == "step 100: loss=nan accuracy=9e-1"
    )


def test_a_line_has_room_for_some_metrics_and_says_how_many_more_there_are() -> None:
    line = metrics_line([series(f"m{number}", 1, "0") for number in range(MOST_METRICS + 5)])
    assert line.endswith(f"m{MOST_METRICS - 1}=0 and 5 more")
