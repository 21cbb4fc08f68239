"""What every registry promises of monitoring: exact figures, bounded curves, nothing counted twice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from blocks.domain.errors import ConcurrentUpdateError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.plan import Usage, WorkerUsage
from blocks.domain.usage import UsageKind, UsageScope
from blocks.registry.database import Registry
from blocks.registry.records import Training
from blocks.registry.usage_buckets import CAPACITY
from tests.contract.registry_contract import RegistryBase

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CPU, MEMORY, GPU = UsageKind.CPU, UsageKind.MEMORY, UsageKind.GPU


def usage_of(
    sequence: int, values: Sequence[dict[UsageKind, float]], *, seconds: float = 2.0, host: str = "here"
) -> Usage:
    """What the workers, rank 0 first, used in a sample that was taken every two seconds."""
    return Usage(
        run_id="trn-1",
        sequence=sequence,
        at=START + timedelta(seconds=2 * sequence),
        attempt=1,
        seconds=seconds,
        host=host,
        network=UsageScope.HOST,
        workers=tuple(WorkerUsage(rank=rank, values=worker) for rank, worker in enumerate(values)),
    )


class MonitoringContract(RegistryBase):
    """Monitoring."""

    def test_a_training_that_was_not_looked_at_has_nothing(self, registry: Registry, training: Training) -> None:
        assert registry.monitoring.workers(training.id) == []
        assert registry.monitoring.curve(training.id, 0) == []

    @pytest.mark.req("COM-08")
    def test_each_worker_has_its_host_its_figures_and_its_curve(self, registry: Registry, training: Training) -> None:
        first = usage_of(1, [{CPU: 10.0, MEMORY: 64.0}, {CPU: 90.0}], seconds=1)
        second = usage_of(2, [{CPU: 50.0, MEMORY: 32.0, GPU: 7.0}, {CPU: 80.0}], seconds=3, host="there")
        registry.trainings.follow(training.id, usage=[first])
        registry.trainings.follow(training.id, usage=[second])

        one, other = registry.monitoring.workers(training.id)

        assert (one.rank, one.host, one.samples, one.sampled, one.network) == (0, "there", 2, second.at, "host")
        assert (other.rank, other.figures.keys()) == (1, {CPU})
        cpu = one.figures[CPU]
        assert (cpu.last, cpu.min, cpu.max, cpu.mean) == (50.0, 10.0, 50.0, 40.0)
        assert (one.figures[MEMORY].last, one.figures[MEMORY].max, one.figures[GPU].mean) == (32.0, 64.0, 7.0)
        assert [(p.at, p.seconds, p.mean) for p in registry.monitoring.curve(training.id, 0)] == [
            (first.at, 1, {CPU: 10.0, MEMORY: 64.0}),
            (second.at, 3, {CPU: 50.0, MEMORY: 32.0, GPU: 7.0}),
        ]

    def test_the_longest_run_has_no_more_than_so_many_buckets_and_no_peak_is_lost(
        self, registry: Registry, training: Training
    ) -> None:
        count = 3 * CAPACITY + 3
        values = [float(n % 97) for n in range(count)]
        values[count // 3] = 1e6
        for begin in range(0, count, 300):
            some = values[begin : begin + 300]
            usage = [usage_of(n, [{CPU: value}]) for n, value in enumerate(some, begin + 1)]
            registry.trainings.follow(training.id, usage=usage)

        (worker,) = registry.monitoring.workers(training.id)
        curve = registry.monitoring.curve(training.id, 0, at_most=10 * CAPACITY)

        assert CAPACITY // 2 <= len(curve) <= CAPACITY
        assert (worker.samples, worker.figures[CPU].max, worker.figures[CPU].last) == (count, 1e6, values[-1])
        assert worker.figures[CPU].mean == pytest.approx(sum(values) / count)
        assert max(point.max[CPU] for point in curve) == 1e6
        assert sum(point.seconds for point in curve) == 2.0 * count
        assert [point.at for point in curve] == sorted({point.at for point in curve})
        assert curve[-1].at == usage_of(count, []).at
        assert len(registry.monitoring.curve(training.id, 0, at_most=7)) <= 7

    def test_a_sample_and_how_far_was_read_are_stored_together_or_not_at_all(
        self, registry: Registry, training: Training
    ) -> None:
        events = [usage_of(1, [{CPU: 1.0}])]
        registry.trainings.follow(training.id, after=training.revision, event_cursor=1, usage=events)
        with pytest.raises(ConcurrentUpdateError):
            registry.trainings.follow(training.id, after=training.revision, event_cursor=1, usage=events)
        (worker,) = registry.monitoring.workers(training.id)
        assert worker.samples == 1

    def test_what_was_sampled_goes_with_its_training(self, registry: Registry, training: Training) -> None:
        registry.trainings.follow(training.id, usage=[usage_of(1, [{CPU: 1.0}])])
        registry.trainings.move(training.id, TrainingStatus.CREATE_IN_PROGRESS)
        registry.trainings.move(training.id, TrainingStatus.CREATE_FAILED)
        registry.trainings.delete(training.id)
        assert registry.monitoring.workers(training.id) == []
        assert registry.monitoring.curve(training.id, 0) == []

    @pytest.mark.req("TRN-12")
    def test_the_time_spent_training_begins_with_the_workers_not_with_who_hears_of_them(
        self, registry: Registry, training: Training
    ) -> None:
        for status in (TrainingStatus.CREATE_IN_PROGRESS, TrainingStatus.RUNNING):
            registry.trainings.move(training.id, status)
        row = registry.trainings.follow(training.id, started=START)
        assert row.started == START
        again = registry.trainings.follow(training.id, started=START + timedelta(hours=1))
        assert again.started == START
