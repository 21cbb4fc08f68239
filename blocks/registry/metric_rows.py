"""Metrics, as they are written: exact figures for each series, and a bounded number of its points."""

import math
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import and_, bindparam, delete, func, insert
from sqlmodel import Session, col, select

from blocks.domain.errors import NotFoundError
from blocks.domain.metrics import MetricPoint
from blocks.registry.identity import storable, to_us
from blocks.registry.storing import table_of
from blocks.registry.tables import PointRow, SeriesRow, TrainingDocumentRow
from blocks.registry.thinning import CAPACITY, Point, settle, thin

MAX_SERIES = 1000
MAX_NAME = 256
MAX_TEXT = 64
_NAMES_AT_ONCE = 500
_STEPS = range(-(2**63), 2**63)


class MetricRows:
    """The metrics of trainings, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, training_id: str, points: Sequence[MetricPoint]) -> int:
        """Add reports, in order; how many were refused because of their name.

        Raises:
            NotFoundError: There is no such training.
        """
        self._hold(training_id)
        reports: dict[str, list[MetricPoint]] = {}
        for point in points:
            reports.setdefault(storable(point.name), []).append(point)
        series = self._series(training_id, reports)
        opened = self._open_buckets([row for row in series.values() if row.stride > 1])
        gone: list[dict[str, int]] = []
        new: list[dict[str, object]] = []
        for name, row in series.items():
            before = opened.get(_id(row), [])
            added = _count(row, reports[name])
            kept = thin([*before, *added], row.stride)
            row.kept += len(kept) - len(before)
            if row.kept > CAPACITY:
                stored = self._points(row)
                before, kept = stored, self._settle(row, [*stored[: len(stored) - len(before)], *kept])
            gone += [{"of": _id(row), "at": point.position} for point in set(before) - set(kept)]
            new += [{"series_id": _id(row), **point._asdict()} for point in sorted(set(kept) - set(before))]
        self._write(gone, new)
        return sum(len(found) for name, found in reports.items() if name not in series)

    def _hold(self, training_id: str) -> None:
        """Let no other transaction add to this training's series until the end of this one."""
        place = select(TrainingDocumentRow.training_id).where(TrainingDocumentRow.training_id == training_id)
        if self._session.exec(place.with_for_update()).first() is None:
            raise NotFoundError("training", training_id)

    def _series(self, training_id: str, names: Iterable[str]) -> dict[str, SeriesRow]:
        """The rows of these names, made where there is room for one more."""
        wanted = [name for name in names if 0 < len(name) <= MAX_NAME]
        found: dict[str, SeriesRow] = {}
        for begin in range(0, len(wanted), _NAMES_AT_ONCE):
            some = wanted[begin : begin + _NAMES_AT_ONCE]
            rows = select(SeriesRow).where(SeriesRow.training_id == training_id, col(SeriesRow.name).in_(some))
            found |= {row.name: row for row in self._session.exec(rows)}
        missing = [name for name in wanted if name not in found]
        if missing:
            there = select(func.count()).where(col(SeriesRow.training_id) == training_id)
            room = max(0, MAX_SERIES - self._session.exec(there).one())
            made = {name: SeriesRow(training_id=training_id, name=name) for name in missing[:room]}
            self._session.add_all(made.values())
            self._session.flush()
            found |= made
        return found

    def _open_buckets(self, series: Sequence[SeriesRow]) -> Mapping[int, list[Point]]:
        """The kept points of each series' last bucket, which may still be joined by others."""
        buckets: dict[int, list[Point]] = {}
        for begin in range(0, len(series), _NAMES_AT_ONCE):
            ids = [_id(row) for row in series[begin : begin + _NAMES_AT_ONCE]]
            first = (col(SeriesRow.count) // col(SeriesRow.stride)) * col(SeriesRow.stride)
            of_series = and_(col(PointRow.series_id) == col(SeriesRow.id), col(PointRow.position) >= first)
            rows = select(PointRow).join(SeriesRow, of_series).where(col(SeriesRow.id).in_(ids))
            for row in self._session.exec(rows.order_by(col(PointRow.series_id), col(PointRow.position))):
                buckets.setdefault(row.series_id, []).append(_point(row))
        return buckets

    def _points(self, series: SeriesRow) -> list[Point]:
        rows = select(PointRow).where(PointRow.series_id == series.id).order_by(col(PointRow.position))
        return [_point(row) for row in self._session.exec(rows)]

    def _settle(self, series: SeriesRow, points: list[Point]) -> list[Point]:
        kept, series.stride = settle(points, series.stride)
        series.kept = len(kept)
        return kept

    def _write(self, gone: Sequence[Mapping[str, int]], new: Sequence[Mapping[str, object]]) -> None:
        table = table_of(PointRow)
        connection = self._session.connection()
        if gone:
            at = and_(table.c.series_id == bindparam("of"), table.c.position == bindparam("at"))
            connection.execute(delete(table).where(at), list(gone))
        if new:
            connection.execute(insert(table), list(new))


def _id(series: SeriesRow) -> int:
    assert series.id is not None  # noqa: S101 - for the type checker: every row was flushed
    return series.id


def _point(row: PointRow) -> Point:
    return Point(row.position, row.step, row.value, row.text, row.at_us, row.rank)


def _count(series: SeriesRow, reports: Sequence[MetricPoint]) -> list[Point]:
    """The reports as points, counted in the series' exact figures."""
    points = []
    for position, report in enumerate(reports, series.count):
        finite = report.value is not None and math.isfinite(report.value)
        value = report.value if finite else None
        step = report.step if report.step in _STEPS else position
        points.append(Point(position, step, value, storable(report.text[:MAX_TEXT]), to_us(report.at), report.rank))
    finite_points = [point for point in points if point.value is not None]
    if series.count == 0:
        series.first_value, series.first_step = points[0].value, points[0].step
    series.count += len(points)
    series.not_finite += len(points) - len(finite_points)
    _last(series, points[-1])
    for point in finite_points:
        _extreme(series, point)
    return points


def _last(series: SeriesRow, point: Point) -> None:
    series.last_value, series.last_step, series.last_text = point.value, point.step, point.text
    series.last_at_us, series.last_rank = point.at_us, point.rank


def _extreme(series: SeriesRow, point: Point) -> None:
    value = point.value
    if value is not None and (series.min_value is None or value < series.min_value):
        series.min_value, series.min_step = value, point.step
    if value is not None and (series.max_value is None or value > series.max_value):
        series.max_value, series.max_step = value, point.step
