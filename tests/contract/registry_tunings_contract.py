"""What every registry promises of tunings and their trials."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.domain.errors import (
    AlreadyExistsError,
    BusyError,
    ConcurrentUpdateError,
    IllegalTransitionError,
    InUseError,
    NotFoundError,
)
from blocks.domain.lifecycle import TrainingStatus, TrialStatus, TuningStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.specs import ExperimentSpec
from blocks.domain.trials import Objective
from blocks.domain.tunings import TuningSpec
from blocks.registry.database import Registry
from blocks.registry.records import LearnedTrial, Query, Trial, Tuning
from blocks.registry.tunings import Followed, TrialMove
from tests.contract.registry_contract import RegistryBase, plan_of, spec_of

T, R, S = TuningStatus, TrialStatus, TrainingStatus
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ENDED_WELL = (S.RUNNING, S.COMPLETE_IN_PROGRESS, S.COMPLETE)
STOPPED = (S.STOP_IN_PROGRESS, S.STOPPED)


def tuning_of(name: str, **settings: Any) -> TuningSpec:
    """A tuning's settings, any of which can be given."""
    given = {
        "name": name,
        "algorithm": "s3://bucket/code",
        "entry_point": "train.py",
        "parameters": ["lr=DOUBLE[0,1]"],
        "objective_metric": "loss",
    }
    return TuningSpec(**given | settings)


def finish(registry: Registry, trial: Trial, value: float, *, best: bool = False) -> None:
    """Let a trial succeed with this objective value."""
    registry.tunings.follow(trial, Followed(started=NOW), TrialMove(R.RUNNING, training=(S.RUNNING,)))
    objective = Objective(value=value, step=3)
    registry.tunings.follow(
        trial, Followed(), TrialMove(R.SUCCEEDED, "it ended", objective, best=best, training=ENDED_WELL[1:])
    )


class TuningsContract(RegistryBase):
    """Tunings, their trials, and the trainings that run them."""

    @pytest.fixture
    def tuning(self, registry: Registry) -> Tuning:
        experiment = registry.experiments.ensure(ExperimentSpec(name="digits"))
        made = registry.tunings.create(tuning_of("t", tags={"team": "vision"}, max_trainings=4), experiment.id)
        for status in (T.CREATE_IN_PROGRESS, T.RUNNING):
            made = registry.tunings.move(made.id, status)
        return made

    @pytest.mark.req("COM-01", "TUN-01", "TUN-11")
    def test_a_new_tuning_has_everything_it_was_asked_with(self, registry: Registry) -> None:
        experiment = registry.experiments.ensure(ExperimentSpec(name="digits"))
        spec = tuning_of("t", description="d", tags={"team": "vision"})
        made = registry.tunings.create(spec, experiment.id, id="tun-1")
        assert (made.id, made.name, made.description, made.status) == ("tun-1", "t", "d", T.CREATE_REQUESTED)
        assert (made.spec, made.tags, made.experiment_name) == (spec, {"team": "vision"}, "digits")
        assert (made.plan, made.learned, made.started, made.best_number) == (None, (), None, None)
        assert registry.tunings.get("t") == registry.tunings.get("tun-1") == made
        assert registry.tunings.create(spec, experiment.id, id="tun-1") == made
        with pytest.raises(AlreadyExistsError, match="tun-1"):
            registry.tunings.create(spec, experiment.id)

    @pytest.mark.req("TUN-12", "TUN-13")
    def test_a_trial_is_counted_by_how_it_ended_and_the_best_is_shown(self, registry: Registry, tuning: Tuning) -> None:
        trials = [registry.tunings.add_trial(tuning, n, {"lr": f"0.{n}"}, f"trn-{n}") for n in (1, 2, 3, 4)]
        finish(registry, trials[0], 0.5, best=True)
        finish(registry, trials[1], 0.7)
        failed = TrialMove(R.FAILED, "boom", training=(S.FAIL_TRAIN_IN_PROGRESS, S.FAIL_TRAIN))
        registry.tunings.follow(trials[2], Followed(), failed)
        [shown] = registry.tunings.page().items
        assert (shown.completed, shown.running, shown.failed, shown.killed) == (2, 1, 1, 0)
        assert (shown.best_number, shown.best_value) == (1, 0.5)
        first, _, third, fourth = registry.tunings.trials(tuning.id)
        assert (first.status, first.objective, first.objective_step) == (R.SUCCEEDED, 0.5, 3)
        assert (third.status, third.reason, third.objective) == (R.FAILED, "boom", None)
        assert (fourth.status, fourth.parameters, fourth.runs) == (R.CREATED, {"lr": "0.4"}, 1)

    def test_trials_that_have_changed_since_a_moment_can_be_read_alone(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        first = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        second = registry.tunings.add_trial(tuning, 2, {"lr": "0.2"}, "trn-2")
        assert registry.tunings.trials(tuning.id, changed_since=second.changed) == [second]
        finish(registry, first, 0.5)
        [changed] = registry.tunings.trials(tuning.id, changed_since=second.changed + timedelta(microseconds=1))
        training = registry.trainings.get("trn-1")
        assert (changed.number, changed.status) == (1, R.SUCCEEDED)
        assert (changed.started, changed.ended) == (training.started, training.ended)
        assert changed.training_seconds == training.training_seconds
        assert second.training_seconds == 0

    def test_what_a_list_shows_of_a_tuning_can_be_read_of_one(self, registry: Registry, tuning: Tuning) -> None:
        [listed] = registry.tunings.page().items
        assert registry.tunings.summary("t") == registry.tunings.summary(tuning.id) == listed
        with pytest.raises(NotFoundError):
            registry.tunings.summary("u")

    def test_asking_twice_for_a_trial_makes_it_once(self, registry: Registry, tuning: Tuning) -> None:
        first = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        assert registry.tunings.add_trial(tuning, 1, {"lr": "0.9"}, "trn-2") == first
        with pytest.raises(NotFoundError):
            registry.trainings.get("trn-2")

    def test_a_trials_training_is_in_no_list_of_trainings_but_can_be_looked_at(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        registry.tunings.add_trial(tuning, 17, {"lr": "0.1"}, "trn-17")
        assert registry.trainings.page().items == ()
        training = registry.trainings.get("t/17")
        assert (training.id, training.tuning_id, training.status) == ("trn-17", tuning.id, S.CREATE_IN_PROGRESS)
        assert [pair.value for pair in training.spec.algorithm.hyperparameters] == ["0.1"]
        assert registry.overview.under_way(NOW) == []
        with pytest.raises(InUseError, match=f"tuning 't' .id {tuning.id}|{tuning.id}"):
            registry.trainings.delete("trn-17")

    @pytest.mark.req("TUN-17")
    def test_what_is_read_of_a_trial_and_where_it_moves_is_stored_once_or_not_at_all(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        trial = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        point = MetricPoint(name="loss", value=0.5, text="0.5", step=1, rank=0, at=NOW)
        followed = Followed(after=0, event_cursor=2, log_cursors={0: 9}, points=[point], started=NOW)
        move = TrialMove(R.RUNNING, training=(S.RUNNING,))
        registry.tunings.follow(trial, followed, move)
        with pytest.raises(ConcurrentUpdateError):
            registry.tunings.follow(trial, followed, move)
        illegal = TrialMove(R.CREATED)
        with pytest.raises(IllegalTransitionError):
            registry.tunings.follow(trial, Followed(after=1, event_cursor=3, points=[point]), illegal)
        training = registry.trainings.get("trn-1")
        assert (training.event_cursor, training.log_cursors, training.revision) == (2, {0: 9}, 1)
        assert [one.count for one in registry.metrics.names("trn-1")] == [1]

    @pytest.mark.parametrize(
        ("passed", "end", "training"),
        [
            ((S.RUNNING, S.STOP_IN_PROGRESS), TrialMove(R.KILLED, training=STOPPED), S.STOPPED),
            ((S.RUNNING, *STOPPED), TrialMove(R.KILLED, training=STOPPED), S.STOPPED),
            ((S.RUNNING, S.STOP_IN_PROGRESS), TrialMove(R.SUCCEEDED, training=ENDED_WELL[1:]), S.STOPPED),
            (ENDED_WELL, TrialMove(R.KILLED, training=STOPPED), S.COMPLETE),
        ],
    )
    def test_a_trial_ends_also_when_somebody_has_led_its_training_to_an_end(
        self,
        registry: Registry,
        tuning: Tuning,
        passed: tuple[TrainingStatus, ...],
        end: TrialMove,
        training: TrainingStatus,
    ) -> None:
        trial = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        for status in passed:
            registry.trainings.move("trn-1", status)
        registry.tunings.follow(trial, Followed(), TrialMove(R.RUNNING, training=(S.RUNNING,)))
        registry.tunings.follow(trial, Followed(), end)
        assert registry.tunings.trial(tuning.id, 1).status is end.to
        assert registry.trainings.get("trn-1").status is training

    @pytest.mark.req("TUN-17")
    def test_taking_a_tuning_up_counts_only_since_workers_of_any_trial_were_last_seen(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        for number in (1, 2, 3):
            [row] = registry.overview.tunings_under_way(NOW)
            assert registry.overview.take_up(row, "restarted")
            trial = registry.tunings.add_trial(tuning, number, {"lr": f"0.{number}"}, f"trn-{number}")
            registry.tunings.follow(trial, Followed(seen=datetime.now(UTC)))
        [row] = registry.overview.tunings_under_way(NOW)
        assert row.attempts == 0
        assert registry.overview.take_up(row, "died")
        assert registry.overview.take_up(row, "asked to end", counts=False)
        assert registry.overview.tunings_under_way(NOW)[0].attempts == 1

    @pytest.mark.req("TUN-17")
    def test_what_a_trial_is_to_be_once_its_run_is_ended_is_known_until_it_is_run_again(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        trial = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        assert trial.verdict is None
        registry.tunings.keep_verdict(trial, R.EARLY_STOPPED, "worse than the median")
        [judged] = registry.tunings.trials(tuning.id)
        assert (judged.status, judged.verdict, judged.reason) == (R.CREATED, R.EARLY_STOPPED, "worse than the median")
        registry.tunings.follow(
            trial, Followed(), TrialMove(R.KILLED, "stopped", training=(S.STOP_IN_PROGRESS, S.STOPPED))
        )
        again = registry.tunings.run_again(tuning, registry.tunings.trial(tuning.id, 1), "trn-2")
        assert (again.verdict, again.reason) == (None, "")

    @pytest.mark.req("TUN-17")
    def test_a_killed_trial_is_run_again_in_another_training_under_the_same_name(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        trial = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        with pytest.raises(IllegalTransitionError):
            registry.tunings.run_again(tuning, trial, "trn-2")
        registry.tunings.follow(
            trial, Followed(), TrialMove(R.KILLED, "stopped", training=(S.STOP_IN_PROGRESS, S.STOPPED))
        )
        again = registry.tunings.run_again(tuning, registry.tunings.trial(tuning.id, 1), "trn-2")
        assert (again.status, again.training_id, again.runs, again.parameters) == (R.CREATED, "trn-2", 2, {"lr": "0.1"})
        assert registry.trainings.get("t/1").id == "trn-2"
        with pytest.raises(NotFoundError):
            registry.trainings.get("trn-1")

    @pytest.mark.req("TUN-17")
    def test_a_tuning_that_rests_can_be_gone_on_with_under_other_limits_and_its_rest_does_not_count(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        for status in (T.COMPLETE_IN_PROGRESS, T.COMPLETE):
            ended = registry.tunings.move(tuning.id, status, "4 trainings have run")
        assert (ended.reason, ended.ended is not None) == ("4 trainings have run", True)
        taken = ended.tuning_seconds
        again = registry.tunings.go_on(tuning.id, tuning.spec.changed(max_trainings=8), "raised")
        assert (again.status, again.spec.max_trainings, again.ended) == (T.CREATE_IN_PROGRESS, 8, None)
        assert again.started == ended.started
        assert again.tuning_seconds < taken + 5
        under_way = registry.tunings.go_on(tuning.id, tuning.spec.changed(max_trainings=9), "again")
        assert (under_way.status, under_way.spec.max_trainings) == (T.CREATE_IN_PROGRESS, 9)

    @pytest.mark.req("TUN-17")
    def test_one_that_rested_before_it_began_had_no_pause(self, registry: Registry, tuning: Tuning) -> None:
        early = registry.tunings.create(tuning_of("early"), tuning.experiment_id)
        for status in (T.CREATE_IN_PROGRESS, T.STOP_IN_PROGRESS, T.STOPPED):
            registry.tunings.move(early.id, status)
        time.sleep(0.002)
        registry.tunings.go_on(early.id, early.spec, "again")
        began = registry.tunings.move(early.id, T.RUNNING)
        assert began.paused_seconds == 0
        assert began.tuning_seconds >= 0

    def test_the_first_plan_stays_with_what_is_learned_from(self, registry: Registry, tuning: Tuning) -> None:
        learned = LearnedTrial(tuning="o", number=3, parameters={"lr": "1"}, status=R.SUCCEEDED, objective=0.5)
        registry.tunings.keep_plan(tuning.id, plan_of(tuning.id), [learned])
        kept = registry.tunings.keep_plan(tuning.id, plan_of("tun-other"))
        assert (kept.plan, kept.learned) == (plan_of(tuning.id), (learned,))

    @pytest.mark.req("TUN-14", "EXP-05", "COM-03")
    def test_a_tuning_is_deleted_with_all_of_its_trials_once_it_is_over(
        self, registry: Registry, tuning: Tuning
    ) -> None:
        trial = registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        finish(registry, trial, 0.5)
        with pytest.raises(BusyError, match="tuning stop t"):
            registry.tunings.delete(tuning.id)
        with pytest.raises(InUseError, match=rf"tuning.*t.*{tuning.id}") as refused:
            registry.experiments.delete(tuning.experiment_id)
        assert "makerflow tuning delete" in str(refused.value)
        for status in (T.STOP_IN_PROGRESS, T.STOPPED):
            registry.tunings.move(tuning.id, status)
        registry.tunings.delete(tuning.id)
        assert (registry.tunings.page().items, registry.tunings.trials(tuning.id)) == ((), [])
        assert registry.trainings.history("trn-1") == registry.tunings.history(tuning.id) == []
        with pytest.raises(NotFoundError):
            registry.trainings.get("trn-1")
        registry.experiments.delete(tuning.experiment_id)

    @pytest.mark.req("COM-03", "TUN-12")
    def test_a_list_filters_by_name_status_tag_and_experiment(self, registry: Registry, tuning: Tuning) -> None:
        other = registry.experiments.ensure(ExperimentSpec(name="other"))
        registry.tunings.create(tuning_of("second", experiment="other"), other.id)
        queries = {
            "name": Query(name="sec*"),
            "status": Query(status=("CREATE REQUESTED",)),
            "experiment": Query(experiment="other"),
        }
        for query in queries.values():
            assert [row.name for row in registry.tunings.page(query).items] == ["second"]
        assert [row.name for row in registry.tunings.page(Query(tags={"team": "vision"})).items] == ["t"]

    @pytest.mark.req("COM-01")
    def test_description_and_tags_can_be_changed(self, registry: Registry, tuning: Tuning) -> None:
        changed = registry.tunings.change(tuning.id, description="new", tags={"a": "b"})
        assert (changed.description, changed.tags, changed.current_spec.description) == ("new", {"a": "b"}, "new")

    def test_a_trial_shares_no_name_with_a_training(self, registry: Registry, tuning: Tuning) -> None:
        registry.tunings.add_trial(tuning, 1, {"lr": "0.1"}, "trn-1")
        made = registry.trainings.create(spec_of("t-1"), tuning.experiment_id)
        assert registry.trainings.get("t/1").id != made.id
