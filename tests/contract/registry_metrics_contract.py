"""What every registry promises of metrics: exact figures, bounded curves, nothing counted twice."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from blocks.domain.errors import ConcurrentUpdateError, InvalidInputError, NotFoundError
from blocks.domain.metrics import MetricPoint
from blocks.registry.database import Registry
from blocks.registry.records import Training
from blocks.registry.thinning import CAPACITY
from tests.contract.registry_contract import RegistryBase

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def points_of(values: Iterable[float], name: str = "loss", first_step: int = 0) -> list[MetricPoint]:
    """Reports of one metric, a second apart; what is not finite has no value."""
    return [
        MetricPoint(
            name=name,
            value=value if math.isfinite(value) else None,
            text=repr(value),
            step=step,
            rank=0,
            at=NOW + timedelta(seconds=step),
        )
        for step, value in enumerate(values, first_step)
    ]


class MetricsContract(RegistryBase):
    """Metrics."""

    def test_few_points_come_back_as_they_were(self, registry: Registry, training: Training) -> None:
        points = points_of([0.1, 5e-324, -1.7976931348623157e308, 3.0, math.nan, math.inf])
        assert registry.metrics.append(training.id, points) == 0
        assert registry.metrics.curve(training.id, "loss") == points

    def test_the_figures_of_a_series_are_exact(self, registry: Registry, training: Training) -> None:
        values = [math.nan, 3.0, 1.0, 7.0, 1.0, 7.0, -math.inf]
        for n, value in enumerate(values):
            registry.metrics.append(training.id, points_of([value], first_step=10 + n))
        (series,) = registry.metrics.names(training.id)
        assert (series.name, series.count, series.not_finite) == ("loss", 7, 2)
        assert (series.first, series.first_step) == (None, 10)
        assert (series.last, series.last_step, series.last_text) == (None, 16, "-inf")
        assert (series.min, series.min_step, series.max, series.max_step) == (1.0, 12, 7.0, 13)

    def test_a_series_without_a_number_has_no_extremes(self, registry: Registry, training: Training) -> None:
        registry.metrics.append(training.id, points_of([math.nan, math.inf]))
        (series,) = registry.metrics.names(training.id)
        assert (series.count, series.not_finite, series.min, series.min_step, series.max) == (2, 2, None, None, None)
        assert [point.text for point in registry.metrics.curve(training.id, "loss")] == ["nan", "inf"]

    def test_a_value_that_is_not_finite_is_never_a_number_even_when_it_is_given_as_one(
        self, registry: Registry, training: Training
    ) -> None:
        wrong = points_of([1.0])[0].model_copy(update={"value": math.nan, "text": "nan"})
        registry.metrics.append(training.id, [wrong])
        (series,) = registry.metrics.names(training.id)
        assert (series.not_finite, series.last, series.last_text) == (1, None, "nan")

    @pytest.mark.parametrize("batch", [37, 1000, 20_000])
    def test_however_they_come_many_points_are_bounded_and_every_spike_survives(
        self, registry: Registry, training: Training, batch: int
    ) -> None:
        values = [float(n % 97) for n in range(20_000 if batch > 37 else 5_000)]
        spike, dip = len(values) // 3, len(values) // 2
        values[spike], values[dip], values[100] = 1e9, -1e9, math.nan
        for begin in range(0, len(values), batch):
            registry.metrics.append(training.id, points_of(values[begin : begin + batch], first_step=begin))
        (series,) = registry.metrics.names(training.id)
        assert (series.count, series.min_step, series.max_step) == (len(values), dip, spike)
        kept = registry.metrics.curve(training.id, "loss", at_most=100_000)
        assert CAPACITY // 2 < len(kept) <= CAPACITY + 1
        assert [point.step for point in kept] == sorted({point.step for point in kept})
        assert all(point == points_of([values[point.step]], first_step=point.step)[0] for point in kept[:50])
        assert {0, 100, spike, dip, len(values) - 1} <= {point.step for point in kept}
        for at_most in (4, 5, 100):
            shown = registry.metrics.curve(training.id, "loss", at_most=at_most)
            assert len(shown) <= at_most
            assert {0, spike, dip, len(values) - 1} <= {point.step for point in shown}

    @pytest.mark.parametrize("count", [3, 10_000])
    def test_what_is_kept_is_known_by_which_report_it_was(
        self, registry: Registry, training: Training, count: int
    ) -> None:
        registry.metrics.append(training.id, points_of([float(n) for n in range(1, count + 1)], first_step=100))
        numbered = registry.metrics.numbered(training.id, "loss")
        assert all((point.value, point.step) == (float(report), report + 99) for report, point in numbered)
        assert (numbered[0][0], numbered[-1][0]) == (1, count)
        assert registry.metrics.numbered(training.id, "none") == []

    def test_too_few_points_cannot_show_a_curve(self, registry: Registry, training: Training) -> None:
        registry.metrics.append(training.id, points_of([1.0]))
        with pytest.raises(InvalidInputError, match="Ask for 4 or more"):
            registry.metrics.curve(training.id, "loss", at_most=3)

    def test_what_is_not_there_is_not_found(self, registry: Registry, training: Training) -> None:
        with pytest.raises(NotFoundError):
            registry.metrics.curve(training.id, "loss")
        with pytest.raises(NotFoundError):
            registry.metrics.append("trn-nothing", points_of([1.0]))
        assert registry.metrics.names("trn-nothing") == []

    def test_too_many_names_and_too_long_ones_are_counted_and_not_stored(
        self, registry: Registry, training: Training
    ) -> None:
        long = points_of([1.0, 2.0], name="x" * 257) + points_of([1.0], name="")
        assert registry.metrics.append(training.id, long) == 3
        many = [point for n in range(1001) for point in points_of([float(n)], name=f"metric-{n:04d}")]
        row = registry.trainings.follow(training.id, points=many)
        row = registry.trainings.follow(training.id, points=points_of([1.0, 2.0], name="another") + many[:1])
        assert row.points_refused == 3 + 1 + 2
        names = [series.name for series in registry.metrics.names(training.id)]
        assert names == [f"metric-{n:04d}" for n in range(1000)]
        assert registry.metrics.names(training.id)[0].count == 2

    def test_odd_names_texts_and_steps_are_kept(self, registry: Registry, training: Training) -> None:
        odd = MetricPoint(name="a\0b\N{SNOWMAN}\udcff", value=1.0, text="1" * 100_000, step=10**30, rank=3, at=NOW)
        registry.metrics.append(training.id, [odd])
        (series,) = registry.metrics.names(training.id)
        assert series.name == "a\N{REPLACEMENT CHARACTER}b\N{SNOWMAN}?"
        (point,) = registry.metrics.curve(training.id, series.name)
        assert (point.value, len(point.text), point.step, point.rank) == (1.0, 64, 0, 3)

    def test_points_and_how_far_was_read_are_stored_together_or_not_at_all(
        self, registry: Registry, training: Training
    ) -> None:
        row = registry.trainings.follow(
            training.id, after=training.revision, log_cursors={0: 10}, points=points_of([1.0, 2.0])
        )
        with pytest.raises(ConcurrentUpdateError):
            registry.trainings.follow(
                training.id, after=training.revision, log_cursors={0: 10}, points=points_of([1.0, 2.0])
            )
        assert registry.trainings.get(training.id) == row
        assert registry.metrics.names(training.id)[0].count == 2

    def test_trainings_do_not_share_series(self, registry: Registry, training: Training) -> None:
        other = registry.trainings.create(training.spec.changed(name="other"), training.experiment_id)
        registry.metrics.append(training.id, points_of([1.0]))
        registry.metrics.append(other.id, points_of([2.0, 3.0]))
        assert [series.count for series in registry.metrics.names(training.id)] == [1]
        assert [point.value for point in registry.metrics.curve(other.id, "loss")] == [2.0, 3.0]

    def test_curves_of_many_trainings_have_their_finite_values_by_step_the_last_report_of_each(
        self, registry: Registry, training: Training
    ) -> None:
        ids = [training.id]
        for n in range(300):  # more than are asked for at once
            ids.append(registry.trainings.create(training.spec.changed(name=f"t-{n}"), training.experiment_id).id)
            registry.metrics.append(ids[-1], points_of([float(n), math.nan, 2.0]))
        registry.metrics.append(ids[1], points_of([5.0], first_step=2))
        registry.metrics.append(ids[2], points_of([math.inf], first_step=3))
        registry.metrics.append(training.id, points_of([1.0], name="other"))
        found = dict(registry.metrics.finite_curves([*ids, "trn-none"], "loss"))
        assert found.keys() == set(ids[1:])
        assert (found[ids[1]], found[ids[2]], found[ids[300]]) == (
            {0: 0.0, 2: 5.0},
            {0: 1.0, 2: 2.0},
            {0: 299.0, 2: 2.0},
        )

    @pytest.mark.parametrize("at_most", [4, 5, 16, 300])
    def test_a_long_curve_keeps_its_ends_and_extremes_among_as_many_points_as_are_asked_for(
        self, registry: Registry, training: Training, at_most: int
    ) -> None:
        values = [math.sin(n / 50) for n in range(3 * CAPACITY)]
        values[0], values[777], values[2222], values[-1] = 0.5, -9.0, 9.0, 0.25
        registry.metrics.append(training.id, points_of([*values, math.nan]))
        [(_, curve)] = registry.metrics.finite_curves([training.id], "loss", at_most)
        assert {0: 0.5, 777: -9.0, 2222: 9.0}.items() <= curve.items()
        assert len(curve) <= at_most
        assert all(values[step] == value for step, value in curve.items())
        assert len([step for step in curve if step < len(values) / 2]) >= len(curve) / 3  # evenly spread

    def test_too_few_points_of_curves_are_refused(self, registry: Registry, training: Training) -> None:
        with pytest.raises(InvalidInputError):
            registry.metrics.finite_curves([training.id], "loss", 3)
