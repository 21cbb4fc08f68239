"""Metrics, as they are written: exact figures for each series, and a bounded number of its points.

A thousand series may change at once, so this works on whole tables, not on objects of the session.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, insert, select, update
from sqlmodel import Session

from blocks.domain.errors import NotFoundError
from blocks.domain.metrics import MetricPoint
from blocks.registry.figures import Figures
from blocks.registry.identity import storable
from blocks.registry.storing import table_of
from blocks.registry.tables import PointRow, SeriesRow, TrainingDocumentRow
from blocks.registry.thinning import CAPACITY, Point, settle, thin

MAX_SERIES = 1000
MAX_NAME = 256
_AT_ONCE = 500
_SERIES = table_of(SeriesRow)
_POINTS = table_of(PointRow)
_DOCUMENTS = table_of(TrainingDocumentRow)
_POINT_COLUMNS = [_POINTS.c[name] for name in Point._fields]
_CHANGING = [field.name for field in fields(Figures) if field.name not in ("id", "training_id", "name")]


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
        opened = self._open_buckets([found for found in series if found.stride > 1])
        gone: list[dict[str, int]] = []
        new: list[dict[str, object]] = []
        for found in series:
            before = opened.get(found.id, [])
            before, after = self._join(found, before, found.add(reports[found.name]))
            gone += [{"of": found.id, "at": point.position} for point in set(before).difference(after)]
            new += [{"series_id": found.id, **point._asdict()} for point in set(after).difference(before)]
        self._write(series, gone, new)
        return len(points) - sum(len(reports[found.name]) for found in series)

    def _join(self, series: Figures, opened: list[Point], added: Sequence[Point]) -> tuple[list[Point], list[Point]]:
        """Which points were kept, and which are now: of the last bucket, or of all when there is no room left."""
        joined = thin([*opened, *added], series.stride)
        series.kept += len(joined) - len(opened)
        if series.kept <= CAPACITY:
            return opened, joined
        stored = self._stored(series)
        settled, series.stride = settle([*stored[: len(stored) - len(opened)], *joined], series.stride)
        series.kept = len(settled)
        return stored, settled

    def _hold(self, training_id: str) -> None:
        """Let no other transaction add to this training's series until the end of this one."""
        place = select(_DOCUMENTS.c.training_id).where(_DOCUMENTS.c.training_id == storable(training_id))
        if self._session.execute(place.with_for_update()).first() is None:
            raise NotFoundError("training", training_id)

    def _series(self, training_id: str, names: Iterable[str]) -> list[Figures]:
        """The series of these names, made where there is room for one more."""
        wanted = [name for name in names if 0 < len(name) <= MAX_NAME]
        found = self._find(training_id, wanted)
        known = {figures.name for figures in found}
        missing = [name for name in wanted if name not in known]
        if missing:
            there = select(func.count()).where(_SERIES.c.training_id == training_id)
            room = max(0, MAX_SERIES - self._session.execute(there).scalar_one())
            found += self._make(training_id, missing[:room])
        return found

    def _find(self, training_id: str, names: Sequence[str]) -> list[Figures]:
        found: list[Figures] = []
        for begin in range(0, len(names), _AT_ONCE):
            some = _SERIES.c.name.in_(names[begin : begin + _AT_ONCE])
            rows = self._session.execute(select(_SERIES).where(_SERIES.c.training_id == training_id, some))
            found += [Figures(**row) for row in rows.mappings()]
        return found

    def _make(self, training_id: str, names: Sequence[str]) -> list[Figures]:
        if not names:
            return []
        blank = dict(vars(Figures(0, training_id, "")))
        del blank["id"]
        self._session.connection().execute(insert(_SERIES), [blank | {"name": name} for name in names])
        return self._find(training_id, names)

    def _open_buckets(self, series: Sequence[Figures]) -> Mapping[int, list[Point]]:
        """The kept points of each series' last bucket, which may still be joined by others."""
        buckets: dict[int, list[Point]] = {}
        first = (_SERIES.c.count // _SERIES.c.stride) * _SERIES.c.stride
        of_series = and_(_POINTS.c.series_id == _SERIES.c.id, _POINTS.c.position >= first)
        columns = select(_POINTS.c.series_id, *_POINT_COLUMNS).join(_SERIES, of_series)
        for begin in range(0, len(series), _AT_ONCE):
            ids = [found.id for found in series[begin : begin + _AT_ONCE]]
            rows = columns.where(_SERIES.c.id.in_(ids)).order_by(_POINTS.c.series_id, _POINTS.c.position)
            for series_id, *point in self._session.execute(rows):
                buckets.setdefault(series_id, []).append(Point(*point))
        return buckets

    def _stored(self, series: Figures) -> list[Point]:
        rows = select(*_POINT_COLUMNS).where(_POINTS.c.series_id == series.id).order_by(_POINTS.c.position)
        return [Point(*row) for row in self._session.execute(rows)]

    def _write(
        self, series: Sequence[Figures], gone: Sequence[Mapping[str, int]], new: Sequence[Mapping[str, object]]
    ) -> None:
        connection = self._session.connection()
        if series:
            values: dict[str, Any] = {name: bindparam(name) for name in _CHANGING}
            changing = update(_SERIES).where(_SERIES.c.id == bindparam("of")).values(values)
            connection.execute(changing, [{"of": found.id} | vars(found) for found in series])
        if gone:
            at = and_(_POINTS.c.series_id == bindparam("of"), _POINTS.c.position == bindparam("at"))
            connection.execute(delete(_POINTS).where(at), list(gone))
        if new:
            connection.execute(insert(_POINTS), list(new))
