"""When a training is taken up again, and which runs may go."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest

from blocks.cluster.base import Trace
from blocks.domain.lifecycle import TRAINING, TUNING_UNDER_WAY, UNDER_WAY, TrainingStatus, TuningStatus
from blocks.domain.plan import RunPhase
from blocks.registry.records import Standing, UnderWay
from blocks.upkeep.findings import Finding, Kind, UpkeepReport
from blocks.upkeep.runs import REGISTRY, judged
from blocks.upkeep.trainings import MOST_ATTEMPTS, PATIENCE_SECONDS, WAYS_TO_AN_END, due
from tasks import upkeep
from tasks.upkeep_report import upkeep_report

NOW = datetime(2026, 1, 8, tzinfo=UTC)
KEEP = timedelta(days=7)
ALIVE = (RunPhase.QUEUED, RunPhase.RUNNING, RunPhase.LOST)


REGISTRY_ID = "reg-1"


def trace(
    phase: RunPhase | None, *, processes: int = 0, age: timedelta = timedelta(0), registry: str = REGISTRY_ID
) -> Trace:
    return Trace("trn-1", phase, processes, NOW - age, {REGISTRY: registry} if registry else {})


def training(status: TrainingStatus, *, logs_uploaded: bool = True) -> Standing:
    return Standing(name="t", status=status, logs_uploaded=logs_uploaded)


def test_each_attempt_waits_twice_as_long_and_all_together_some_hours() -> None:
    waits = [due(under_way(attempts), PATIENCE_SECONDS) - NOW for attempts in range(MOST_ATTEMPTS)]
    assert [wait.total_seconds() for wait in waits[:3]] == [60, 120, 240]
    assert timedelta(hours=4) < sum(waits, timedelta()) < timedelta(hours=5)


def under_way(attempts: int) -> UnderWay:
    return UnderWay(id="trn-1", name="t", status=TrainingStatus.RUNNING, attempts=attempts, stirred=NOW)


@pytest.mark.parametrize("status", TrainingStatus)
def test_upkeep_brings_a_training_from_each_status_that_is_under_way_to_an_end(status: TrainingStatus) -> None:
    ways = WAYS_TO_AN_END.get(status, ())
    assert bool(ways) == (status in UNDER_WAY)
    for source, target in pairwise((status, *ways)):
        assert TRAINING.allows(source, target)
    assert not ways or TRAINING.is_final(ways[-1])


def test_what_a_trial_left_is_for_who_goes_on_with_its_tuning_until_that_is_over() -> None:
    trial = training(TrainingStatus.COMPLETE)
    for status in TuningStatus:
        left = judged(
            trace(RunPhase.FINISHED), trial.model_copy(update={"tuning_status": status}), REGISTRY_ID, NOW, KEEP
        )
        assert (left is None) == (status in TUNING_UNDER_WAY)


@pytest.mark.parametrize("status", sorted(set(TrainingStatus) - UNDER_WAY))
def test_a_run_of_a_training_that_is_not_under_way_is_ended_whatever_its_status(status: TrainingStatus) -> None:
    run = judged(trace(RunPhase.RUNNING, processes=1), training(status), REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert run.lives


@pytest.mark.parametrize("phase", [*ALIVE, RunPhase.FINISHED, None])
def test_a_run_of_a_training_that_is_under_way_is_left_alone(phase: RunPhase | None) -> None:
    assert (
        judged(trace(phase, processes=3, age=KEEP * 2), training(TrainingStatus.RUNNING), REGISTRY_ID, NOW, KEEP)
        is None
    )


@pytest.mark.parametrize("phase", ALIVE)
@pytest.mark.parametrize("whose", [None, training(TrainingStatus.STOPPED, logs_uploaded=False)])
def test_a_run_that_lives_without_need_is_ended_and_its_records_stay(phase: RunPhase, whose: Standing | None) -> None:
    run = judged(trace(phase), whose, REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert (run.lives, run.is_removable) == (True, False)


@pytest.mark.parametrize("whose", [None, training(TrainingStatus.COMPLETE, logs_uploaded=False)])
def test_records_whose_outputs_may_not_be_at_their_places_are_kept_for_their_keep_time(whose: Standing | None) -> None:
    assert judged(trace(RunPhase.FINISHED, age=KEEP / 2), whose, REGISTRY_ID, NOW, KEEP) is None
    run = judged(trace(RunPhase.FINISHED, age=KEEP), whose, REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert (run.lives, run.is_removable) == (False, True)


def test_records_of_a_finished_training_go_at_once() -> None:
    run = judged(trace(RunPhase.FINISHED), training(TrainingStatus.COMPLETE), REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert run.is_removable


def test_processes_without_records_are_ended_whatever_they_say() -> None:
    run = judged(trace(None, processes=1), None, REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert run.lives
    assert run.whose == "no training that is known"


@pytest.mark.parametrize(
    ("registry", "whose", "is_strange"),
    [
        (REGISTRY_ID, None, False),
        ("reg-other", None, True),
        ("reg-other", training(TrainingStatus.STOPPED), True),
        ("", None, True),
        ("", training(TrainingStatus.STOPPED), False),
    ],
)
def test_a_run_is_ours_by_its_mark_and_without_one_when_its_training_is_known(
    registry: str, whose: Standing | None, is_strange: bool
) -> None:
    run = judged(trace(RunPhase.RUNNING, registry=registry), whose, REGISTRY_ID, NOW, KEEP)
    assert run is not None
    assert run.is_strange is is_strange
    assert ("another registry" in run.whose) is (registry == "reg-other")


def test_how_a_strange_run_is_removed_by_hand_is_what_its_cluster_says(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SimpleNamespace(
        traces=lambda: [trace(RunPhase.RUNNING, registry="reg-other")],
        removal_of=lambda run_id: f"`kubectl delete configmap mf-{run_id}`",
    )
    registry = SimpleNamespace(
        id=REGISTRY_ID, overview=SimpleNamespace(standing=lambda _: {}), leased=lambda _: frozenset()
    )
    settings = SimpleNamespace(keep_runs_days=7)
    platform = SimpleNamespace(cluster=cluster, registry=registry, settings=settings)
    monkeypatch.setattr(upkeep, "open_platform", lambda: platform)
    [finding] = upkeep.end_runs.task.fn(dry_run=False)
    assert finding.done.endswith("where that registry is no more, `kubectl delete configmap mf-trn-1`.")


def test_the_report_tells_what_failed_and_shows_text_as_text() -> None:
    findings = (
        Finding(kind=Kind.RUN, id="trn-1", found="It lives.", done="removed"),
        Finding(kind=Kind.SCRATCH, id="/tmp/|x|", found="It is old.", done="denied", failed=True),  # noqa: S108 - a text
    )
    text = upkeep_report(UpkeepReport(findings=findings))
    assert r"| run | 1 |" in text
    assert r"\/tmp\/\|x\|" in text
    assert r"FAILED\: denied" in text
    assert upkeep_report(UpkeepReport(dry_run=True, findings=findings)).startswith("Nothing was changed.")
