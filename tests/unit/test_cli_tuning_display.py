"""How tunings and their trials are shown."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.domain.plan import OutputKind, Uploaded
from blocks.domain.tunings import MAX_TRAININGS, TuningSpec
from blocks.registry.records import Training, Trial, Tuning, TuningSummary
from deployments.cli.documents import uploads_of
from deployments.cli.tuning_details import remedies
from deployments.cli.tuning_documents import best_first, range_text, trial_document, tuning_row, tuning_summary
from deployments.cli.tuning_live import LiveTuningDisplay
from deployments.cli.tuning_preview import Preview
from deployments.cli.tuning_progress import PlainTuningDisplay, Trials, TuningProgress

NOW = datetime.now(UTC) + timedelta(hours=1)
SPEC = TuningSpec(
    name="t",
    algorithm="s3://b/c",
    entry_point="t.py",
    parameters=["lr=DOUBLE[0,1]"],
    objective_metric="loss",
    max_trainings=10,
    parallel_trainings=2,
)
R = TrialStatus


def trial(number: int, status: TrialStatus, objective: float | None = None, **more: Any) -> Trial:
    started = NOW if status is not R.CREATED else None
    ended = NOW + timedelta(seconds=10) if status not in (R.CREATED, R.RUNNING) else None
    values = {"reason": "", "parameters": {"lr": "0.12345678901"}, "objective_step": 3, "runs": 1} | more
    return Trial(
        tuning_id="tun-1",
        number=number,
        training_id=f"trn-{number}",
        status=status,
        objective=objective,
        created=NOW,
        changed=NOW,
        started=started,
        ended=ended,
        **values,
    )


def row(**more: Any) -> TuningSummary:
    values = {"completed": 0, "running": 0, "failed": 0, "killed": 0, "best_number": None, "best_value": None}
    return TuningSummary(
        id="tun-1",
        name="t",
        description="",
        experiment_id="exp-1",
        experiment_name="e",
        status=TuningStatus.RUNNING,
        reason="",
        tags={},
        created=NOW,
        changed=NOW,
        started=NOW,
        ended=None,
        paused_seconds=0,
        **values | more,
    )


def complete(**more: Any) -> Tuning:
    """A tuning that is over, with other settings or another standing."""
    values = {**row().model_dump(), "status": TuningStatus.COMPLETE, "plan": None, "learned": (), "template": None}
    settings = {name: more.pop(name) for name in tuple(more) if name not in values}
    return Tuning(**{**values, **more}, spec=SPEC.changed(**settings))


GRID = {"strategy": "GRID", "parameters": ["lr=DOUBLE[0,1,0.25]"], "max_trainings": 5, "completed": 5}


@pytest.mark.req("TUN-12")
@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"completed": 9, "failed": 1}, "makerflow tuning resume t --max-trainings 20"),
        ({"completed": MAX_TRAININGS, "max_trainings": MAX_TRAININGS}, "makerflow tuning copy t"),
        ({"completed": 2, "best_value": 0.1, "goal": 0.2}, "makerflow tuning resume t --goal A-BETTER-ONE"),
        (
            {"completed": 2, "max_tuning_minutes": 5, "ended": NOW + timedelta(minutes=5)},
            "makerflow tuning resume t --max-tuning-time 10m",
        ),
        ({"completed": 2, "ended": NOW + timedelta(minutes=5)}, "makerflow tuning copy t"),
        (GRID, "makerflow tuning copy t"),
        ({"completed": 10, "best_value": 0.1, "goal": 0.2}, "makerflow tuning copy t"),
        ({"completed": 10, "best_value": 0.3, "goal": 0.2}, "makerflow tuning resume t --max-trainings 20"),
    ],
    ids=["all ran", "no more are allowed", "goal", "time", "exhausted", "grid", "goal of the last", "goal not reached"],
)
def test_what_is_advised_for_a_complete_tuning_does_go_on(settings: dict[str, Any], advice: str) -> None:
    assert remedies(complete(**settings))[-1] == advice


def test_the_outputs_that_are_shown_are_those_of_worker_0_whoever_was_last() -> None:
    paths = ("file:///out/model/worker-1", "file:///out/model", "file:///out/model/worker-2")
    uploaded = [
        Uploaded(run_id="r", sequence=n, at=NOW, output=OutputKind.MODEL, path=path, files=n, bytes=1)
        for n, path in enumerate(paths, 1)
    ]
    [arrived] = uploads_of(Training.model_construct(plan=None, uploaded=tuple(uploaded))).values()
    assert (arrived.path, arrived.files) == ("file:///out/model", 2)


def progress(*changed: Trial, best: Trial | None = None, **more: Any) -> TuningProgress:
    number = best.number if best else None
    return TuningProgress(row(best_number=number, **more), SPEC, None, best, changed)


@pytest.mark.req("TUN-12")
def test_a_list_names_the_best_training_with_its_objective_value() -> None:
    found = row(completed=3, running=2, failed=1, best_number=2, best_value=0.25)

    assert tuning_summary(found)["best"] == {"number": 2, "name": "t/2", "objective": 0.25}
    assert tuning_row(found)[4:9] == ["3", "2", "1", "t/2", "0.25"]
    assert tuning_summary(row())["best"] is None


@pytest.mark.req("TUN-13")
def test_a_trial_is_told_with_number_status_objective_hyperparameters_and_reason() -> None:
    document = trial_document("t", trial(3, R.FAILED, reason="boom"))

    assert (document["number"], document["name"], document["status"]) == (3, "t/3", "FAILED")
    assert (document["objective"], document["reason"], document["seconds"]) == (None, "boom", 10)
    assert document["hyperparameters"] == {"lr": "0.12345678901"}


def test_the_best_first_are_those_with_the_best_objective_then_those_without_one() -> None:
    trials = [trial(1, R.FAILED), trial(2, R.SUCCEEDED, 0.5), trial(3, R.SUCCEEDED, 0.1), trial(4, R.SUCCEEDED, 0.5)]

    assert [one.number for one in best_first(trials, SPEC)] == [3, 2, 4, 1]
    assert [one.number for one in best_first(trials, SPEC.changed(objective_type="MAXIMIZE"))] == [2, 4, 3, 1]


def test_plain_lines_tell_when_a_trial_begins_and_how_it_ended_once() -> None:
    stream = io.StringIO()
    display = PlainTuningDisplay(stream)
    first, second = trial(1, R.SUCCEEDED, 0.5), trial(2, R.FAILED, reason="boom\nand more")

    display.status(row())
    display.progress(progress(trial(1, R.CREATED), trial(2, R.RUNNING)))
    display.progress(progress(trial(1, R.RUNNING), trial(2, R.RUNNING)))
    display.progress(progress(first, second, best=first))
    display.progress(progress(first, second, best=first))

    assert stream.getvalue().splitlines() == [
        "[t] RUNNING",
        "[makerflow] t/2 RUNNING lr=0.123457",
        "[makerflow] t/1 RUNNING lr=0.123457",
        "[makerflow] t/1 SUCCEEDED loss=0.5 (best so far) lr=0.123457 in 10s",
        "[makerflow] t/2 FAILED lr=0.123457 in 10s: boom",
    ]


def test_the_best_so_far_is_told_in_the_order_in_which_trials_ended() -> None:
    stream = io.StringIO()
    ended = [
        trial(number, R.SUCCEEDED, value).model_copy(update={"changed": NOW + timedelta(seconds=second)})
        for number, value, second in ((1, 0.4, 3), (2, 0.5, 1), (3, 0.3, 2), (4, 0.2, 4))
    ]

    PlainTuningDisplay(stream).progress(progress(*ended, best=ended[3]))

    told = [(line.split()[1], "best so far" in line) for line in stream.getvalue().splitlines()]
    assert told == [("t/2", True), ("t/3", True), ("t/1", False), ("t/4", True)]


def test_plain_lines_leave_out_what_had_ended_before_and_tell_what_is_run_again() -> None:
    stream = io.StringIO()
    display = PlainTuningDisplay(stream)
    before = trial(1, R.KILLED).model_copy(update={"changed": NOW - timedelta(days=1)})

    display.progress(progress(before))
    display.progress(progress(trial(1, R.RUNNING, runs=2)))

    assert stream.getvalue() == "[makerflow] t/1 RUNNING lr=0.123457\n"


def test_the_time_left_is_that_of_the_trials_to_come_at_the_pace_of_those_before() -> None:
    trials = Trials()
    trials.take([trial(1, R.SUCCEEDED, 1.0), trial(2, R.FAILED), trial(3, R.KILLED)])

    assert trials.seconds_left(progress(completed=1, failed=1)) == pytest.approx(40)
    assert Trials().seconds_left(progress()) is None
    limited = TuningProgress(row(completed=1, failed=1), SPEC, datetime.now(UTC) + timedelta(seconds=5), None, ())
    assert trials.seconds_left(limited) == pytest.approx(5, abs=1)


def test_of_five_thousand_trials_only_the_last_are_kept() -> None:
    trials = Trials()
    trials.take([trial(number, R.SUCCEEDED, 0.5) for number in range(1, 5001)])

    assert len(trials.finished) <= 200
    assert trials.running == {}


@pytest.mark.parametrize("height", [8, 12, 60])
def test_the_live_display_fits_the_terminal_and_shows_those_that_run_first(height: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, height=height)
    display = LiveTuningDisplay(console, "[b]t[/b]")
    finished = [trial(number, R.SUCCEEDED, number / 10) for number in range(1, 31)]
    running = [trial(31, R.RUNNING), trial(32, R.RUNNING)]

    display.progress(progress(*finished, *running, best=finished[0], completed=8, running=2))
    lines = console.render_lines(display._render(), console.options)
    text = "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)
    display.close()

    assert len(lines) < height
    for part in ("[b]t[/b]", "8 of 10 trainings have run, 2 running", "best loss=0.1 (t/1): lr=0.123457", "RUNNING"):
        assert part in text
    assert ("30     SUCCEEDED" in text) == (height > 8)


@pytest.mark.parametrize(
    "text",
    ["DOUBLE[0.0001,0.1,log]", "DOUBLE[0,1,step=0.1]", "INT[1,10]", "DISCRETE[16,32]", "CATEGORICAL[a,b]"],
)
def test_a_range_is_shown_as_it_can_be_typed(text: str) -> None:
    [parameter] = SPEC.changed(unset=["parameters"], parameters=[f"x={text}"]).search.parameters

    assert range_text(parameter) == text


@pytest.mark.req("TUN-03")
@pytest.mark.parametrize(
    ("settings", "waves", "instances", "minutes"),
    [
        ({}, 5, 2, 300),
        ({"max_trainings": 11, "workers": 3}, 6, 6, 360),
        ({"parallel_trainings": 1}, 10, 1, 600),
        ({"max_tuning_minutes": 90}, 5, 2, 90),
    ],
)
def test_a_preview_counts_waves_and_instances_and_the_time_that_they_take_at_most(
    settings: dict[str, Any], waves: int, instances: int, minutes: float
) -> None:
    found = Preview(SPEC.changed(max_minutes=60, **settings), 1, 0, ())

    assert (found.waves, found.instances, found.most_minutes) == (waves, instances, minutes)


def test_a_preview_says_what_its_points_depend_on() -> None:
    def told(random_state: int | None, strategy: str, learned: int = 0, parallel: int = 2) -> str:
        spec = SPEC.changed(random_state=random_state, strategy=strategy, warm_start="old" if learned else "")
        spec = spec.changed(parallel_trainings=parallel)
        return " ".join(Preview(spec, 7, learned, (), "It learns from 30 of 31." if learned else "").notes)

    assert "--random-state 7 gives them" in told(None, "RANDOM")
    assert told(7, "RANDOM") == ""
    assert "the first 10 points by chance" in told(7, "BAYESIAN_OPTIMIZATION")
    assert "the order in which they end decides" in told(7, "BAYESIAN_OPTIMIZATION")
    assert "the order in which they end decides" not in told(7, "BAYESIAN_OPTIMIZATION", parallel=1)
    assert "It learns from 30 of 31." in told(7, "BAYESIAN_OPTIMIZATION", 30)
