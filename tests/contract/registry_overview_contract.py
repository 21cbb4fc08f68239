"""What upkeep asks of every registry."""

from datetime import UTC, datetime, timedelta

import pytest

from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrainingStatus as T
from blocks.registry.database import Registry
from blocks.registry.records import FlowRunRecord, Training
from tests.contract.registry_contract import TO_COMPLETE, RegistryBase, plan_of, spec_of, walk

EVER = datetime.fromtimestamp(0, UTC)


class OverviewContract(RegistryBase):
    """All that is under way at once."""

    def test_what_is_under_way_is_told_and_nothing_else(
        self, registry: Registry, training: Training, experiment_id: str
    ) -> None:
        over, failed = (registry.trainings.create(spec_of(name), experiment_id) for name in ("over", "failed"))
        walk(registry, over.id, *TO_COMPLETE)
        walk(registry, failed.id, T.CREATE_IN_PROGRESS, T.CREATE_FAILED)
        [row] = registry.overview.under_way(EVER)
        assert (row.id, row.name, row.status, row.attempts) == (training.id, "first", T.CREATE_REQUESTED, 0)
        assert row.stirred == training.changed

    def test_taking_up_counts_until_the_status_moves(self, registry: Registry, training: Training) -> None:
        for count in (1, 2):
            [row] = registry.overview.under_way(EVER)
            assert registry.overview.take_up(row, "nobody followed it")
            assert registry.overview.under_way(EVER)[0].attempts == count
        assert registry.overview.under_way(EVER)[0].stirred > training.changed
        assert registry.overview.under_way(datetime.now(UTC) + timedelta(seconds=1))[0].attempts == 0
        assert registry.trainings.get(training.id).reason == "nobody followed it"
        assert [move.reason for move in registry.trainings.history(training.id)][1:] == ["nobody followed it"] * 2
        walk(registry, training.id, T.CREATE_IN_PROGRESS)
        assert registry.overview.under_way(EVER)[0].attempts == 0

    def test_taking_up_counts_only_since_the_workers_were_last_seen(
        self, registry: Registry, training: Training
    ) -> None:
        for _ in range(3):
            [row] = registry.overview.under_way(EVER)
            assert registry.overview.take_up(row, "restarted")
            registry.trainings.follow(training.id, seen=datetime.now(UTC))
        [row] = registry.overview.under_way(EVER)
        assert row.attempts == 0
        assert row.stirred > training.changed
        assert registry.overview.take_up(row, "died")
        assert registry.overview.under_way(EVER)[0].attempts == 1

    def test_taking_up_what_ended_in_order_counts_not_at_all(self, registry: Registry, training: Training) -> None:
        [row] = registry.overview.under_way(EVER)
        assert registry.overview.take_up(row, "asked to end", counts=False)
        [again] = registry.overview.under_way(EVER)
        assert (again.attempts, again.stirred > row.stirred) == (0, True)
        assert registry.trainings.get(training.id).reason == "asked to end"
        assert len(registry.trainings.history(training.id)) == 1

    def test_what_moved_meanwhile_is_not_taken_up(self, registry: Registry, training: Training) -> None:
        [row] = registry.overview.under_way(EVER)
        walk(registry, training.id, *TO_COMPLETE)
        assert not registry.overview.take_up(row, "too late")
        assert registry.trainings.get(training.id).reason != "too late"
        registry.trainings.delete(training.id)
        with pytest.raises(NotFoundError):
            registry.overview.take_up(row, "too late")

    def test_planning_is_a_sign_of_life(self, registry: Registry, training: Training) -> None:
        registry.trainings.keep_plan(training.id, plan_of(training.id))
        assert registry.overview.under_way(EVER)[0].stirred > training.changed

    def test_what_is_known_of_many_ids_is_told_at_once(
        self, registry: Registry, training: Training, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("blocks.registry.overview.CHUNK", 2)
        known = registry.overview.standing(["trn-a", "trn-b", training.id, "trn-z"])
        assert list(known) == [training.id]
        assert (known[training.id].name, known[training.id].logs_uploaded) == ("first", False)
        assert registry.overview.event_names_in(training.experiment_id) == {"first"}
        assert registry.overview.standing([]) == {}

    def test_leases_of_many_are_told_at_once(self, registry: Registry) -> None:
        ids = [f"trn-{number}" for number in range(20)]
        with registry.lease(ids[3]), registry.lease(ids[11]):
            assert registry.leased(ids) == {ids[3], ids[11]}
            registry.tidy_leases()
            assert registry.leased(ids) == {ids[3], ids[11]}
        assert registry.leased(ids) == set()

    def test_a_flow_run_that_a_server_sees_is_unended_until_it_ends(self, registry: Registry) -> None:
        began = datetime.now(UTC)
        seen, unseen = (
            FlowRunRecord(
                id=id, flow_name="f", name="n", parameters={}, state="RUNNING", message="", started=began, ended=None
            )
            for id in ("seen", "unseen")
        )
        for _ in range(2):  # a retry begins again
            registry.flow_runs.begin(seen)
        registry.flow_runs.record(unseen)
        assert [(run.record, run.is_seen) for run in registry.flow_runs.unended()] == [(seen, True), (unseen, False)]
        assert registry.flow_runs.pending() == []
        registry.flow_runs.end("seen")
        registry.flow_runs.record(unseen.model_copy(update={"ended": began, "state": "CRASHED"}))
        assert registry.flow_runs.unended() == []
        assert [run.id for run in registry.flow_runs.pending()] == ["unseen"]

    def test_the_bound_of_the_journal_forgets_no_run_that_is_not_over(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("blocks.registry.flow_run_rows.KEPT", 1)
        began = datetime.now(UTC)
        for number, ended in enumerate((None, began, began)):
            at = began + timedelta(seconds=number)
            registry.flow_runs.record(
                FlowRunRecord(
                    id=f"run-{number}", flow_name="f", name="n", parameters={}, state="", message="", started=at,
                    ended=ended,
                )
            )  # fmt: skip
        assert [run.record.id for run in registry.flow_runs.unended()] == ["run-0"]
        assert [run.id for run in registry.flow_runs.pending()] == ["run-2"]
