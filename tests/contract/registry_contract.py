"""What every registry promises of experiments, trainings, its journal and its index of connections."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.domain.errors import (
    AlreadyExistsError,
    BusyError,
    ConcurrentUpdateError,
    IllegalTransitionError,
    InUseError,
    InvalidInputError,
    NotFoundError,
)
from blocks.domain.lifecycle import ExperimentStatus, TrainingStatus
from blocks.domain.plan import OutputKind, PlannedOutput, Resources, Restarted, RunHandle, RunImage, RunPlan, Uploaded
from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.registry.database import Registry, open_registry
from blocks.registry.records import FlowRunRecord, Query, StepRecord, Training

E, T = ExperimentStatus, TrainingStatus
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TO_COMPLETE = (T.CREATE_IN_PROGRESS, T.RUNNING, T.COMPLETE_IN_PROGRESS, T.COMPLETE)


def spec_of(name: str, **settings: Any) -> TrainingSpec:
    """A training's settings, any of which can be given."""
    return TrainingSpec(**{"name": name, "algorithm": "s3://bucket/code", "entry_point": "train.py"} | settings)


def plan_of(run_id: str, **settings: Any) -> RunPlan:
    """A small plan."""
    plan = {
        "run_id": run_id,
        "created": NOW,
        "workers": 1,
        "resources": Resources(vcpus=1, memory_mib=1),
        "image": RunImage(name="python", python="3.11"),
        "entry_point": "train.py",
        "storage_mib": 1,
        "time_limit_seconds": 1,
    }
    return RunPlan(**plan | settings)


def upload_of(sequence: int) -> Uploaded:
    """One upload, as the run's event of this number."""
    path = f"s3://bucket/model-{sequence}"
    return Uploaded(
        run_id="trn-1", sequence=sequence, at=NOW, output=OutputKind.MODEL, path=path, files=1, bytes=sequence
    )


def walk(registry: Registry, id: str, *statuses: TrainingStatus) -> Training:
    """Move a training through statuses."""
    for status in statuses:
        row = registry.trainings.move(id, status)
    return row


class RegistryBase:
    """A registry on the database that a subclass names."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def registry(self, url: str) -> Iterator[Registry]:
        with open_registry(url) as registry:
            yield registry

    @pytest.fixture
    def experiment_id(self, registry: Registry) -> str:
        return registry.experiments.ensure(ExperimentSpec(name="digits")).id

    @pytest.fixture
    def training(self, registry: Registry, experiment_id: str) -> Training:
        return registry.trainings.create(spec_of("first"), experiment_id)


class ExperimentContract(RegistryBase):
    """Experiments."""

    def test_a_registry_has_an_id_of_its_own_for_ever(self, registry: Registry, url: str) -> None:
        assert registry.id.startswith("reg-")
        with open_registry(url) as again:
            assert again.id == registry.id

    @pytest.mark.req("COM-01", "EXP-01")
    def test_a_new_experiment_is_found_by_id_and_by_name(self, registry: Registry) -> None:
        made = registry.experiments.create(ExperimentSpec(name="digits", description="Zero to nine"))
        assert made.id.startswith("exp-")
        assert len(made.id) <= 40
        assert (made.name, made.description, made.status) == ("digits", "Zero to nine", E.CREATE_REQUESTED)
        assert made.created == made.changed
        assert abs(datetime.now(UTC) - made.created) < timedelta(minutes=1)
        assert registry.experiments.get(made.id) == registry.experiments.get("digits") == made

    def test_asking_with_the_same_id_finds_the_experiment(self, registry: Registry) -> None:
        made = registry.experiments.create(ExperimentSpec(name="digits"), id="exp-1")
        assert registry.experiments.create(ExperimentSpec(name="digits"), id="exp-1") == made

    @pytest.mark.req("COM-01", "EXP-01")
    def test_a_taken_name_is_refused_with_the_id_that_has_it(self, registry: Registry) -> None:
        made = registry.experiments.create(ExperimentSpec(name="digits"))
        with pytest.raises(AlreadyExistsError, match=f"'digits' exists already .id {made.id}.") as refused:
            registry.experiments.create(ExperimentSpec(name="digits"))
        assert refused.value.id == made.id

    @pytest.mark.parametrize("id", ["digits", "trn-1", "exp-", "exp-A", "exp-a b", "exp-" + "a" * 37])
    def test_an_id_of_the_wrong_form_is_refused(self, registry: Registry, id: str) -> None:
        with pytest.raises(InvalidInputError, match="form of an id"):
            registry.experiments.create(ExperimentSpec(name="digits"), id=id)

    @pytest.mark.parametrize("key", ["nothing", "exp-nothing", "", "\0", "\udcff", "x" * 10_000])
    def test_what_is_not_there_is_not_found(self, registry: Registry, key: str) -> None:
        with pytest.raises(NotFoundError):
            registry.experiments.get(key)

    def test_a_name_that_is_another_ones_id_does_not_hide_that_one(self, registry: Registry) -> None:
        first = registry.experiments.create(ExperimentSpec(name="first"), id="exp-1")
        registry.experiments.create(ExperimentSpec(name="exp-1"), id="exp-0")
        assert registry.experiments.get("exp-1") == first

    @pytest.mark.req("COM-11")
    def test_an_experiment_that_a_training_needs_is_made_once(self, registry: Registry) -> None:
        made = registry.experiments.ensure(ExperimentSpec(name="digits"))
        assert made.status is E.ACTIVE
        assert registry.experiments.ensure(ExperimentSpec(name="digits", description="other")) == made
        moves = registry.experiments.history(made.id)
        assert [move.target for move in moves] == [E.CREATE_REQUESTED, E.CREATE_IN_PROGRESS, E.ACTIVE]

    @pytest.mark.req("EXP-01", "EXP-02")
    def test_a_failed_creation_can_be_retried_and_every_move_is_kept(self, registry: Registry) -> None:
        made = registry.experiments.create(ExperimentSpec(name="digits"))
        registry.experiments.move(made.id, E.CREATE_IN_PROGRESS)
        failed = registry.experiments.move(made.id, E.CREATE_FAILED, "the disk is full")
        assert failed.reason == "the disk is full"
        retried = registry.experiments.move(made.id, E.CREATE_IN_PROGRESS)
        assert (retried.reason, retried.changed > failed.changed) == ("", True)
        registry.experiments.move(made.id, E.ACTIVE)
        moves = registry.experiments.history(made.id)
        assert [(move.source, move.target, move.reason) for move in moves] == [
            ("", "CREATE REQUESTED", ""),
            ("CREATE REQUESTED", "CREATE IN PROGRESS", ""),
            ("CREATE IN PROGRESS", "CREATE FAILED", "the disk is full"),
            ("CREATE FAILED", "CREATE IN PROGRESS", ""),
            ("CREATE IN PROGRESS", "ACTIVE", ""),
        ]
        assert [move.at for move in moves] == sorted(move.at for move in moves)

    @pytest.mark.req("COM-01")
    def test_the_description_can_be_changed_later(self, registry: Registry, experiment_id: str) -> None:
        before = registry.experiments.get(experiment_id)
        after = registry.experiments.change(experiment_id, description="NUL \0, a half pair \udcff, \N{SNOWMAN}")
        assert after.description == "NUL \N{REPLACEMENT CHARACTER}, a half pair ?, \N{SNOWMAN}"
        assert after.changed > before.changed
        with pytest.raises(NotFoundError):
            registry.experiments.change("exp-nothing", description="x")

    @pytest.mark.req("EXP-05")
    def test_it_cannot_be_deleted_while_it_is_being_created(self, registry: Registry) -> None:
        made = registry.experiments.create(ExperimentSpec(name="digits"))
        for delete in (registry.experiments.guard_delete, registry.experiments.delete):
            with pytest.raises(BusyError, match=f"'digits' .{made.id}. while it is CREATE REQUESTED"):
                delete(made.id)

    @pytest.mark.req("COM-03", "EXP-05")
    def test_it_cannot_be_deleted_while_trainings_belong_to_it(
        self, registry: Registry, experiment_id: str, training: Training
    ) -> None:
        second = registry.trainings.create(spec_of("second"), experiment_id)
        with pytest.raises(InUseError) as refused:
            registry.experiments.delete(experiment_id)
        assert refused.value.blockers == (("training", "first", training.id), ("training", "second", second.id))
        assert training.id in str(refused.value)
        for id in (training.id, second.id):
            registry.trainings.move(id, T.CREATE_FAILED)
            registry.trainings.delete(id)
        registry.experiments.delete(experiment_id)
        with pytest.raises(NotFoundError):
            registry.experiments.get(experiment_id)
        assert registry.experiments.history(experiment_id) == []

    def test_a_list_filters_by_status_and_name(self, registry: Registry, experiment_id: str) -> None:
        registry.experiments.create(ExperimentSpec(name="Letters"))
        assert [row.name for row in registry.experiments.page().items] == ["Letters", "digits"]
        assert [row.name for row in registry.experiments.page(Query(status=("ACTIVE",))).items] == ["digits"]
        assert [row.name for row in registry.experiments.page(Query(name="letter")).items] == ["Letters"]
        for query, what in ((Query(tags={"a": "b"}), "tag"), (Query(experiment="digits"), "experiment")):
            with pytest.raises(InvalidInputError, match=f"filter by {what}"):
                registry.experiments.page(query)


class TrainingContract(RegistryBase):
    """Trainings: their rows, moves and documents."""

    @pytest.mark.req("COM-01", "TRN-01")
    def test_a_new_training_has_everything_it_was_asked_with(self, registry: Registry, experiment_id: str) -> None:
        spec = spec_of("first", description="d", tags={"team": "vision", "a": ""}, hyperparameters={"lr": 0.1})
        made = registry.trainings.create(spec, experiment_id)
        assert made.id.startswith("trn-")
        assert made.spec == spec
        assert (made.name, made.description, made.status) == ("first", "d", T.CREATE_REQUESTED)
        assert (made.experiment_id, made.experiment_name) == (experiment_id, "digits")
        assert made.tags == {"a": "", "team": "vision"}
        assert (made.plan, made.handle, made.started, made.ended, made.training_seconds) == (None, None, None, None, 0)
        assert registry.trainings.get(made.id) == registry.trainings.get("first") == made

    @pytest.mark.req("COM-04")
    def test_asking_with_the_same_id_and_settings_finds_the_training(
        self, registry: Registry, experiment_id: str
    ) -> None:
        made = registry.trainings.create(spec_of("first", tags={"a": "b"}), experiment_id, id="trn-1")
        assert registry.trainings.create(spec_of("first", tags={"a": "b"}), experiment_id, id="trn-1") == made
        with pytest.raises(AlreadyExistsError):
            registry.trainings.create(spec_of("first"), experiment_id, id="trn-1")
        with pytest.raises(AlreadyExistsError):
            registry.trainings.create(spec_of("second"), experiment_id, id="trn-1")

    @pytest.mark.req("COM-01", "TRN-01")
    def test_a_taken_name_is_refused_with_the_id_that_has_it(
        self, registry: Registry, experiment_id: str, training: Training
    ) -> None:
        with pytest.raises(AlreadyExistsError) as refused:
            registry.trainings.create(spec_of("first"), experiment_id)
        assert refused.value.id == training.id

    @pytest.mark.req("COM-01")
    def test_a_free_name_is_the_base_or_the_first_number_after_it(
        self, registry: Registry, experiment_id: str, training: Training
    ) -> None:
        assert (registry.trainings.free_name("second"), registry.trainings.free_name("firs")) == ("second", "firs")
        for name in ("first-3", "first-other", "First-2", "first.2", "first-"):
            registry.trainings.create(spec_of(name), experiment_id)
        assert registry.trainings.free_name("first") == "first-2"
        registry.trainings.create(spec_of("first-2"), experiment_id)
        assert registry.trainings.free_name("first") == "first-4"

    def test_a_free_name_is_never_longer_than_a_name_may_be(self, registry: Registry, experiment_id: str) -> None:
        longest = "x" * 63
        made = [registry.trainings.create(spec_of(longest), experiment_id).name]
        for _ in range(3):
            free = registry.trainings.free_name(longest)
            made.append(registry.trainings.create(spec_of(free), experiment_id).name)
        assert len(set(made)) == 4
        assert registry.trainings.free_name("y" * 100) == "y" * 63

    def test_it_needs_an_experiment_that_exists(self, registry: Registry) -> None:
        with pytest.raises(NotFoundError, match="no experiment 'exp-nothing'"):
            registry.trainings.create(spec_of("first"), "exp-nothing")
        assert registry.trainings.page().items == ()

    @pytest.mark.req("COM-02", "TRN-11", "TRN-12")
    def test_its_times_are_those_of_its_moves(self, registry: Registry, training: Training) -> None:
        row = walk(registry, training.id, *TO_COMPLETE)
        moves = registry.trainings.history(training.id)
        at = {move.target: move.at for move in moves}
        assert [move.target for move in moves] == [T.CREATE_REQUESTED, *TO_COMPLETE]
        assert (row.created, row.started, row.ended) == (at[T.CREATE_REQUESTED], at[T.RUNNING], at[T.COMPLETE])
        assert row.training_seconds == (at[T.COMPLETE] - at[T.RUNNING]).total_seconds() > 0

    @pytest.mark.req("TRN-12")
    def test_a_restart_of_its_workers_is_told_in_its_history_once_and_is_no_taking_up(
        self, registry: Registry, training: Training
    ) -> None:
        row = walk(registry, training.id, T.CREATE_IN_PROGRESS, T.RUNNING)
        event = Restarted(run_id=training.id, sequence=7, at=row.created, attempt=2, cause="a node was lost")
        registry.trainings.follow(training.id, after=row.revision, event_cursor=7, restarted=event)
        with pytest.raises(ConcurrentUpdateError):
            registry.trainings.follow(training.id, after=row.revision, event_cursor=7, restarted=event)
        first, *_, last = registry.trainings.history(training.id)
        assert (last.target, last.at, last.reason) == ("RUNNING", row.created, event.said)
        assert (first.is_restart, last.is_restart) == (False, True)
        assert registry.trainings.get(training.id).status is T.RUNNING
        [standing] = registry.overview.under_way(row.created)
        assert standing.attempts == 0

    @pytest.mark.req("TRN-12")
    def test_what_passed_between_its_attempts_is_no_training_time(self, registry: Registry, training: Training) -> None:
        row = walk(registry, training.id, *TO_COMPLETE)
        assert row.started is not None
        assert row.ended is not None
        began = row.started - timedelta(hours=2)
        for started, seen in ((began, 10), (began + timedelta(minutes=50), 30)):
            registry.trainings.follow(training.id, started=started)
            for seconds in (seen, seen - 1):  # another worker's word may come later
                registry.trainings.follow(training.id, seen=started + timedelta(seconds=seconds))
        row = registry.trainings.follow(training.id, started=began + timedelta(minutes=60))
        between = timedelta(minutes=50, seconds=-10) + timedelta(minutes=10, seconds=-30)
        assert row.started == began
        assert row.ended is not None
        assert row.training_seconds == pytest.approx((row.ended - began - between).total_seconds())

    @pytest.mark.req("TRN-12")
    def test_a_worker_that_ended_before_the_others_had_started_makes_no_pause(
        self, registry: Registry, training: Training
    ) -> None:
        registry.trainings.move(training.id, T.CREATE_IN_PROGRESS)
        began = datetime.now(UTC) - timedelta(seconds=10)
        registry.trainings.follow(training.id, seen=began)
        registry.trainings.move(training.id, T.RUNNING)
        registry.trainings.follow(training.id, started=began + timedelta(seconds=6))
        registry.trainings.follow(training.id, seen=began + timedelta(seconds=8))
        row = walk(registry, training.id, *TO_COMPLETE[2:])
        assert row.training_seconds == 2

    @pytest.mark.req("TRN-12")
    def test_it_ended_when_its_workers_did_however_late_that_is_heard_of(
        self, registry: Registry, training: Training
    ) -> None:
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=9)
        registry.trainings.move(training.id, T.CREATE_IN_PROGRESS)
        registry.trainings.follow(training.id, started=began, seen=began + timedelta(minutes=1))
        row = walk(registry, training.id, *TO_COMPLETE[1:])
        assert (row.started, row.ended) == (began, began + timedelta(minutes=1))
        assert row.training_seconds == 60

    @pytest.mark.req("COM-02")
    def test_a_move_that_the_life_cycle_does_not_have_is_refused_and_names_both(
        self, registry: Registry, training: Training
    ) -> None:
        with pytest.raises(IllegalTransitionError, match="from CREATE REQUESTED to COMPLETE"):
            registry.trainings.move(training.id, T.COMPLETE)
        assert registry.trainings.get(training.id) == training
        assert len(registry.trainings.history(training.id)) == 1

    @pytest.mark.req("COM-04")
    def test_a_move_to_the_status_that_it_has_changes_nothing(self, registry: Registry, training: Training) -> None:
        once = registry.trainings.move(training.id, T.CREATE_IN_PROGRESS, "checking")
        assert registry.trainings.move(training.id, T.CREATE_IN_PROGRESS, "again") == once
        assert len(registry.trainings.history(training.id)) == 2

    def test_a_move_from_a_status_that_it_no_longer_has_is_refused(
        self, registry: Registry, training: Training
    ) -> None:
        walk(registry, training.id, T.CREATE_IN_PROGRESS, T.RUNNING)
        with pytest.raises(ConcurrentUpdateError, match="from CREATE IN PROGRESS to RUNNING") as refused:
            registry.trainings.move(training.id, T.STOP_IN_PROGRESS, expected=T.CREATE_IN_PROGRESS)
        assert (refused.value.expected, refused.value.found) == (T.CREATE_IN_PROGRESS, T.RUNNING)

    def test_a_final_status_keeps_the_reason_of_the_one_before(self, registry: Registry, training: Training) -> None:
        walk(registry, training.id, T.CREATE_IN_PROGRESS, T.RUNNING)
        registry.trainings.move(training.id, T.FAIL_TRAIN_IN_PROGRESS, "line 3: ZeroDivisionError\0")
        failed = registry.trainings.move(training.id, T.FAIL_TRAIN)
        assert failed.reason == "line 3: ZeroDivisionError\N{REPLACEMENT CHARACTER}"

    @pytest.mark.req("COM-01")
    def test_description_and_tags_can_be_changed_later(self, registry: Registry, experiment_id: str) -> None:
        made = registry.trainings.create(spec_of("first", tags={"a": "1", "b": "2"}), experiment_id)
        changed = registry.trainings.change(made.id, tags={"b": "3", 'quoted "name"\n': "line\nbreak"})
        assert changed.tags == {"b": "3", 'quoted "name"\n': "line\nbreak"}
        assert (changed.description, changed.changed > made.changed) == (made.description, True)
        assert registry.trainings.change(made.id, description="new").tags == changed.tags
        assert registry.trainings.change(made.id, tags={}).tags == {}
        with pytest.raises(NotFoundError):
            registry.trainings.change("trn-nothing", tags={})

    @pytest.mark.req("COM-01")
    def test_an_eleventh_tag_is_refused_and_the_limit_is_said(self, registry: Registry, training: Training) -> None:
        registry.trainings.change(training.id, tags={str(n): "" for n in range(10)})
        with pytest.raises(InvalidInputError, match="at most 10"):
            registry.trainings.change(training.id, tags={str(n): "" for n in range(11)})
        with pytest.raises(InvalidInputError, match="128"):
            registry.trainings.change(training.id, tags={"x" * 129: ""})
        assert len(registry.trainings.get(training.id).tags) == 10

    def test_the_longest_tags_can_be_kept_and_found(self, registry: Registry, training: Training) -> None:
        value = "".join(chr(0x4E00 + n % 20_000) for n in range(4096))
        registry.trainings.change(training.id, tags={"\N{SNOWMAN}" * 128: value})
        assert registry.trainings.page(Query(tags={"\N{SNOWMAN}" * 128: value})).items[0].id == training.id

    @pytest.mark.req("TRN-17", "COM-04")
    def test_the_first_plan_is_kept(self, registry: Registry, training: Training) -> None:
        first, second = plan_of(training.id), plan_of(training.id, workers=2)
        assert registry.trainings.keep_plan(training.id, first) == first
        assert registry.trainings.keep_plan(training.id, second) == first
        assert registry.trainings.get(training.id).plan == first
        assert registry.trainings.keep_plan(training.id, second, replace=True) == second
        with pytest.raises(NotFoundError):
            registry.trainings.keep_plan("trn-nothing", first)

    def test_the_handle_is_kept(self, registry: Registry, training: Training) -> None:
        handle = RunHandle(cluster="local", run_id=training.id)
        registry.trainings.keep_handle(training.id, handle)
        assert registry.trainings.get(training.id).handle == handle
        with pytest.raises(NotFoundError):
            registry.trainings.keep_handle("trn-nothing", handle)

    def test_how_far_a_run_was_followed_is_kept(self, registry: Registry, training: Training) -> None:
        followed = registry.trainings.follow(
            training.id, event_cursor=7, log_cursors={0: 2**40, 1: 5}, reader_states={0: {"loss": 3}}
        )
        assert (followed.event_cursor, followed.log_cursors, followed.reader_states) == (
            7,
            {0: 2**40, 1: 5},
            {0: {"loss": 3}},
        )
        later = registry.trainings.follow(training.id, log_cursors={0: 2**41, 1: 5}, logs_uploaded=True)
        assert (later.event_cursor, later.reader_states, later.logs_uploaded) == (7, {0: {"loss": 3}}, True)
        assert later.changed == training.changed
        assert registry.trainings.get(training.id) == later

    def test_an_upload_is_known_once_however_often_it_is_told(self, registry: Registry, training: Training) -> None:
        registry.trainings.follow(training.id, uploaded=[upload_of(2)])
        row = registry.trainings.follow(training.id, uploaded=[upload_of(2), upload_of(1)])
        assert row.uploaded == (upload_of(1), upload_of(2))

    def test_the_slower_of_two_followers_is_refused(self, registry: Registry, training: Training) -> None:
        row = registry.trainings.follow(training.id, after=training.revision, log_cursors={0: 10})
        with pytest.raises(ConcurrentUpdateError):
            registry.trainings.follow(training.id, after=training.revision, log_cursors={0: 10})
        assert registry.trainings.follow(training.id, after=row.revision).revision == row.revision + 1
        with pytest.raises(NotFoundError):
            registry.trainings.follow("trn-nothing", log_cursors={0: 10})

    @pytest.mark.req("TRN-16")
    @pytest.mark.parametrize(
        "way",
        [
            (),
            (T.CREATE_IN_PROGRESS,),
            (T.CREATE_IN_PROGRESS, T.RUNNING),
            (T.CREATE_IN_PROGRESS, T.RUNNING, T.STOP_IN_PROGRESS),
        ],
        ids=lambda way: way[-1] if way else T.CREATE_REQUESTED,
    )
    def test_one_that_is_not_over_cannot_be_deleted(
        self, registry: Registry, training: Training, way: tuple[TrainingStatus, ...]
    ) -> None:
        status = walk(registry, training.id, *way).status if way else training.status
        for delete in (registry.trainings.guard_delete, registry.trainings.delete):
            with pytest.raises(
                BusyError, match=f"while it is {status}. Stop it first: `makerflow training stop first`"
            ):
                delete(training.id)

    @pytest.mark.req("TRN-16")
    def test_deleting_leaves_nothing_and_frees_the_name(
        self, registry: Registry, experiment_id: str, training: Training
    ) -> None:
        registry.trainings.change(training.id, tags={"a": "b"})
        walk(registry, training.id, *TO_COMPLETE)
        registry.trainings.delete(training.id)
        with pytest.raises(NotFoundError):
            registry.trainings.get(training.id)
        assert registry.trainings.history(training.id) == []
        assert registry.trainings.page(Query(tags={"a": "b"})).items == ()
        assert registry.trainings.create(spec_of("first"), experiment_id).id != training.id


class JournalContract(RegistryBase):
    """Flow runs that no server saw, connections, leases."""

    @staticmethod
    def run_of(number: int, **settings: Any) -> FlowRunRecord:
        began = NOW + timedelta(seconds=number)
        step = StepRecord(name="plan", state="COMPLETED", message="", started=began, ended=began)
        record = {
            "id": f"run-{number}",
            "flow_name": "create-training",
            "name": "first",
            "parameters": {"spec": {"name": "first", "description": "NUL \0"}},
            "state": "COMPLETED",
            "message": "NUL \0",
            "started": began,
            "ended": began + timedelta(seconds=1),
            "steps": (step,),
            "artifacts": {"training": ("A training", "# It")},
        }
        return FlowRunRecord(**record | settings)

    def test_runs_that_are_over_wait_for_a_server_in_their_order(self, registry: Registry) -> None:
        for number in (2, 1):
            registry.flow_runs.record(self.run_of(number))
        registry.flow_runs.record(self.run_of(3, state="RUNNING", ended=None))
        assert registry.flow_runs.pending() == [self.run_of(1), self.run_of(2)]
        registry.flow_runs.record(self.run_of(3))
        assert registry.flow_runs.pending(limit=5)[2] == self.run_of(3)

    def test_a_run_that_is_forgotten_waits_for_no_server(self, registry: Registry) -> None:
        registry.flow_runs.record(self.run_of(1))
        assert registry.flow_runs.forget("run-1")
        assert not registry.flow_runs.forget("run-1")
        assert not registry.flow_runs.forget("run-nothing")
        assert registry.flow_runs.pending() == []

    def test_the_journal_is_bounded(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blocks.registry.flow_run_rows.KEPT", 3)
        for number in range(5):
            registry.flow_runs.record(self.run_of(number))
        assert [run.id for run in registry.flow_runs.pending()] == ["run-2", "run-3", "run-4"]

    def test_a_connection_is_found_by_its_endpoint(self, registry: Registry) -> None:
        made = registry.connections.put("store", "store.example:9000")
        registry.connections.put("another", "another.example")
        assert registry.connections.find("store.example:9000") == registry.connections.get("store") == made
        assert registry.connections.find("nowhere.example") is None
        assert [entry.name for entry in registry.connections.list()] == ["another", "store"]
        moved = registry.connections.put("store", "store.example")
        assert (moved.created, moved.endpoint) == (made.created, "store.example")
        registry.connections.delete("store")
        for missing in (registry.connections.get, registry.connections.delete):
            with pytest.raises(NotFoundError):
                missing("store")

    @pytest.mark.parametrize(
        "endpoint", ["https://user:secret@store.example", "user@store.example", "", "x" * 513, "a\0b"]
    )
    def test_an_endpoint_that_holds_an_account_or_is_none_is_refused(self, registry: Registry, endpoint: str) -> None:
        with pytest.raises(InvalidInputError) as refused:
            registry.connections.put("store", endpoint)
        assert "secret@" not in str(refused.value)

    def test_a_lease_is_held_by_one_at_a_time(self, registry: Registry) -> None:
        for _ in range(2):
            assert not registry.is_leased("trn-1")
            with registry.lease("trn-1"), registry.lease("trn-2"):
                assert registry.is_leased("trn-1")
                assert not registry.is_leased("trn-3")
        assert not registry.is_leased("trn-1")
        assert registry.has_leased("trn-1")
        assert not registry.has_leased("trn-3")

    @pytest.mark.parametrize("status", [T.CREATE_IN_PROGRESS, T.CREATE_FAILED])
    def test_an_output_path_is_claimed_by_the_plan_of_who_is_under_way(
        self, registry: Registry, training: Training, status: TrainingStatus
    ) -> None:
        path = 's3://bucket/models "ö"'
        outputs = (PlannedOutput(kind=OutputKind.MODEL, path=path),)
        walk(registry, training.id, *dict.fromkeys((T.CREATE_IN_PROGRESS, status)))
        registry.trainings.keep_plan(training.id, plan_of(training.id, outputs=outputs))
        assert registry.trainings.is_claimed(path, by_other_than="trn-2") is (status is T.CREATE_IN_PROGRESS)
        assert not registry.trainings.is_claimed(path, by_other_than=training.id)
        assert not registry.trainings.is_claimed(path[:-1], by_other_than="trn-2")
