"""The curves of one metric of many trainings, in time and memory that depend on what is asked for alone.

A curve of few points is read whole. Of a longer one only so many points are looked up, evenly spread over its reports;
its ends and its extremes are among its figures, which are exact.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from blocks.registry.reading import Reader
from blocks.registry.thinning import LEAST_SPREAD

_AT_ONCE = 250
_CHOSEN = "s.name = :name AND s.training_id IN ({ids}) AND s.kept"
_WHOLE = (
    f"SELECT s.training_id, p.position, p.step, p.value FROM metric_series s "  # noqa: S608 - constants of this module
    f"JOIN metric_point p ON p.series_id = s.id WHERE {_CHOSEN} < :at_most AND p.position < s.count - 1 "
    f"UNION ALL SELECT s.training_id, s.count - 1, s.last_step, s.last_value FROM metric_series s "
    f"WHERE {_CHOSEN} < :at_most ORDER BY 1, 2"
)
_SAMPLED = (
    f"WITH RECURSIVE tick(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM tick WHERE i + 1 < :ticks) "  # noqa: S608 - likewise
    f"SELECT s.training_id, p.step, p.value FROM metric_series s CROSS JOIN tick JOIN metric_point p "
    f"ON p.series_id = s.id AND p.position = (SELECT min(q.position) FROM metric_point q "
    f"WHERE q.series_id = s.id AND q.position >= tick.i * s.count / :ticks) WHERE {_CHOSEN} >= :at_most ORDER BY 1, i"
)
_FIGURES = (
    f"SELECT s.training_id, s.first_step, s.first_value, s.min_step, s.min_value, s.max_step, s.max_value, "  # noqa: S608 - likewise
    f"s.last_step, s.last_value FROM metric_series s WHERE {_CHOSEN} >= :at_most"
)


def finite_curves(
    reader: Reader, training_ids: Sequence[str], name: str, at_most: int
) -> Iterator[tuple[str, dict[int, float]]]:
    """As `Metrics.finite_curves` promises."""
    for begin in range(0, len(training_ids), _AT_ONCE):
        yield from _some(reader, training_ids[begin : begin + _AT_ONCE], name, at_most).items()


def _some(reader: Reader, training_ids: Sequence[str], name: str, at_most: int) -> dict[str, dict[int, float]]:
    ids = {f"id_{n}": id for n, id in enumerate(training_ids)}
    places = ", ".join(f":{key}" for key in ids)
    chosen = {"name": name, "at_most": at_most, **ids}
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def add(training_id: str, step: int | None, value: float | None) -> None:
        if step is not None and value is not None:
            found[training_id][step] = value

    for row in reader.rows(_WHOLE.format(ids=places), **chosen):
        add(row["training_id"], row["step"], row["value"])
    if longer := reader.rows(_FIGURES.format(ids=places), **chosen):
        if ticks := at_most - LEAST_SPREAD:
            for row in reader.rows(_SAMPLED.format(ids=places), ticks=ticks, **chosen):
                add(row["training_id"], row["step"], row["value"])
        for row in longer:
            for which in ("first", "min", "max", "last"):
                add(row["training_id"], row[f"{which}_step"], row[f"{which}_value"])
    return dict(found)
