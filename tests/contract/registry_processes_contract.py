"""What every registry promises to many processes at once, and to those that are killed."""

import pytest

from blocks.domain.specs import ExperimentSpec
from blocks.registry.database import Registry, open_registry
from blocks.registry.records import Training
from tests.contract import registry_processes as processes
from tests.contract.registry_contract import RegistryBase
from tests.waiting import wait_until

PROCESSES = 16
KILLS = 4


class ProcessesContract(RegistryBase):
    """Many processes, some of which are killed."""

    @pytest.mark.req("COM-01", "COM-04")
    def test_sixteen_processes_open_a_new_database_and_create_the_same(self, url: str) -> None:
        answers = processes.at_once(processes.open_and_create, PROCESSES, url)
        assert sum(answer.startswith("won") for answer in answers) == 1
        assert len({answer.split()[1] for answer in answers}) == 1
        with open_registry(url) as registry:
            names = sorted(row.name for row in registry.experiments.page().items)
            assert names == sorted([*(f"own-{n}" for n in range(PROCESSES)), "shared"])
            assert [row.name for row in registry.trainings.page().items] == ["shared"]

    @pytest.mark.req("COM-02")
    def test_of_sixteen_processes_that_move_a_training_one_does(
        self, url: str, registry: Registry, training: Training
    ) -> None:
        answers = processes.at_once(processes.claim, PROCESSES, url, training.id)
        assert answers.count(True) == 1
        (_, move) = registry.trainings.history(training.id)
        assert move.reason.startswith("by ")

    @pytest.mark.req("EXP-05")
    def test_an_experiment_that_is_deleted_while_trainings_come_in_loses_none(
        self, url: str, registry: Registry
    ) -> None:
        experiment = registry.experiments.ensure(ExperimentSpec(name="digits"))
        answers = processes.at_once(processes.delete_or_join, 8, url, experiment.id)
        assert set(answers) <= {"joined", "deleted", "InUseError", "NotFoundError", "ConcurrentUpdateError"}
        joined = answers.count("joined")
        assert len(registry.trainings.page().items) == joined
        assert (joined > 0) == ("deleted" not in answers)

    @pytest.mark.req("COM-04")
    def test_what_a_killed_follower_has_stored_is_what_it_has_counted(
        self, url: str, registry: Registry, training: Training
    ) -> None:
        for _ in range(KILLS):
            before = registry.trainings.get(training.id).revision
            with processes.running(processes.follow_for_ever, url, training.id):
                wait_until(lambda known=before: registry.trainings.get(training.id).revision > known + 3)
        read = registry.trainings.get(training.id).log_cursors[0]
        (series,) = registry.metrics.names(training.id)
        assert (series.count, series.last, series.max) == (read, read - 1, read - 1)
        curve = registry.metrics.curve(training.id, "loss", at_most=10_000)
        assert [point.value for point in curve] == [point.step for point in curve]

    @pytest.mark.req("COM-04")
    def test_two_followers_of_one_training_count_nothing_twice(
        self, url: str, registry: Registry, training: Training
    ) -> None:
        end = 40 * processes.STEP
        own = processes.at_once(processes.follow_to, 3, url, training.id, end)
        assert sum(own) == end // processes.STEP
        (series,) = registry.metrics.names(training.id)
        assert (series.count, series.last_step) == (end, end - 1)

    @pytest.mark.req("COM-04")
    def test_a_lease_is_free_when_its_holder_is_killed(self, url: str, registry: Registry) -> None:
        held = processes.context().Event()
        with processes.running(processes.hold_lease, url, "trn-1", held) as holder:
            assert held.wait(processes.DEADLINE_SECONDS)
            assert registry.is_leased("trn-1")
            holder.kill()
            with registry.lease("trn-1"):
                assert registry.is_leased("trn-1")
        assert not registry.is_leased("trn-1")
