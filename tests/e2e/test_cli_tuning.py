"""A tuning's life on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import WAITS, CommandLine
from tests.waiting import wait_until

pytestmark = pytest.mark.xdist_group("tuning command")


@pytest.fixture(scope="module")
def tuned(code: Path) -> Path:
    """The folder of code; with `hold.py` as well, which reports its objective and waits until it is let go."""
    (code / "hold.py").write_text(
        f"import os\nprint('loss', float(os.environ['EM_HP_LR']), sep='=', flush=True)\n{WAITS}"
    )
    (code / "odd.py").write_text(
        "import os\n"
        "rate = float(os.environ['EM_HP_LR'])\n"
        "print('loss=nan' if rate > 2 else f'loss={rate}')\n"
        "raise SystemExit(f'{rate} is too much' if rate > 3 else 0)\n"
    )
    return code


def tune(
    code: Path, name: str, *more: str, entry_point: str = "train.py", space: str = "lr=DOUBLE[0.1,0.4,step=0.1]"
) -> list[str]:
    algorithm = ["--algorithm", str(code), "--entry-point", entry_point]
    return ["tune", "--name", name, *algorithm, "--param", space, "--objective", "loss", *more]


def held(cli: CommandLine, code: Path, name: str, *more: str) -> list[str]:
    """A tuning whose trials wait until it is let go."""
    return tune(code, name, "--hp", f"go={cli.go(name)}", "--strategy", "grid", *more, entry_point="hold.py")


def trials_of(cli: CommandLine, name: str, *options: str) -> list[dict[str, Any]]:
    ended = cli.run("tuning", "trials", name, *options, "--json")
    assert ended.code == 0, ended
    found = json.loads(ended.out)
    assert isinstance(found, list)
    return found


def wait_for_trial(cli: CommandLine, name: str, status: str) -> None:
    def look() -> bool:
        ended = cli.run("tuning", "trials", name, "--json")
        return ended.code == 0 and any(trial["status"] == status for trial in json.loads(ended.out))

    wait_until(look, f"a trial of {name} to be {status}")


@pytest.fixture(scope="module")
def grid(cli: CommandLine, tuned: Path) -> dict[str, Any]:
    """The document of a tuning over a grid of four points, two at once."""
    options = ("--strategy", "grid", "--parallel", "2", "--experiment", "e1", "--tag", "team=vision")
    ended = cli.spawn(*tune(tuned, "grid", *options, "--output", cli.place("out"), "--max-time", "2m", "--json"))
    assert ended.code == 0, ended
    return ended.document


@pytest.mark.req("TUN-01", "TUN-05", "TUN-07")
def test_a_tuning_ends_complete_with_its_best_trial_and_where_that_ones_outputs_are(
    cli: CommandLine, grid: dict[str, Any]
) -> None:
    assert (grid["status"], grid["completed"], grid["running"], grid["failed"]) == ("COMPLETE", 4, 0, 0)
    best = grid["best"]
    assert (best["number"], best["name"], best["hyperparameters"]) == (1, "grid/1", {"lr": "0.1"})
    assert best["objective"] == pytest.approx(0.0333)
    assert best["outputs"]["model"] == cli.place("out/grid/1")
    assert cli.read("out/grid/1/model.txt") == "fitted"


@pytest.mark.req("TUN-12", "COM-03")
def test_the_list_shows_time_counts_and_the_best_and_filters_as_that_of_trainings(
    cli: CommandLine, grid: dict[str, Any]
) -> None:
    matching = ("--name", "gri*", "--status", "complete", "--tag", "team=vision", "--experiment", "e1")
    [item] = cli.json("tuning", "list", *matching)["items"]

    assert (item["id"], item["completed"], item["running"], item["failed"]) == (grid["id"], 4, 0, 0)
    assert item["tuning_seconds"] > 0
    assert item["best"] == {"number": 1, "name": "grid/1", "objective": pytest.approx(0.0333)}
    assert cli.json("tuning", "list", "--tag", "team=sound")["items"] == []
    table = cli.run("tuning", "list").out
    for part in ("TIME TAKEN", "COMPLETED", "grid/1", "0.0333"):
        assert part in table
    assert "grid" not in [training["name"] for training in cli.json("training", "list")["items"]]


@pytest.mark.req("TUN-13")
def test_trials_are_listed_with_status_objective_hyperparameters_and_reason(
    cli: CommandLine, grid: dict[str, Any]
) -> None:
    trials = trials_of(cli, "grid")

    assert [trial["number"] for trial in trials] == [1, 2, 3, 4]
    assert [trial["hyperparameters"]["lr"] for trial in trials] == ["0.1", "0.2", "0.3", "0.4"]
    assert {trial["status"] for trial in trials} == {"SUCCEEDED"}
    assert all({"number", "status", "objective", "hyperparameters", "reason", "seconds"} <= t.keys() for t in trials)
    assert trials_of(cli, "grid", "--status", "failed") == []
    assert cli.run("tuning", "trials", "grid", "--sort", "objective").out.splitlines()[1].startswith("1 ")


@pytest.mark.req("TUN-13")
def test_a_trial_shows_all_of_its_metrics_and_is_a_training_to_look_at(cli: CommandLine, grid: dict[str, Any]) -> None:
    trial = cli.json("tuning", "trial", "grid", "2")

    assert (trial["status"], trial["hyperparameters"], trial["is_best"]) == ("SUCCEEDED", {"lr": "0.2"}, False)
    assert trial["metrics"]["loss"]["first"] == pytest.approx(0.2)
    assert trial["outputs"]["model"].endswith("/out/grid/2")
    assert "[bold]red[/bold] rank 0" in cli.run("training", "logs", "grid/2").out
    shown = cli.run("tuning", "trial", "grid", "1").out
    for part in ("grid/1", "SUCCEEDED (the best)", "loss", "lr", "makerflow training logs grid/1"):
        assert part in shown
    assert cli.run("tuning", "trial", "grid", "5").code == 2


@pytest.mark.req("TUN-12")
def test_show_tells_what_is_searched_how_far_it_is_the_best_and_what_to_do_next(
    cli: CommandLine, grid: dict[str, Any]
) -> None:
    shown = cli.json("tuning", "show", grid["id"])
    read = cli.run("tuning", "show", "grid").out

    targets = [move["target"] for move in shown["history"]]
    assert (targets[0], targets[-1]) == ("CREATE REQUESTED", "COMPLETE")
    for part in (
        "DOUBLE[0.1,0.4,step=0.1]",
        "MINIMIZE loss",
        "4 of 4 trainings have run",
        "Best: grid/1",
        "team=vision",
        "makerflow tuning copy grid",
    ):
        assert part in read


@pytest.mark.req("EXP-04")
def test_a_tuning_is_drawn_into_a_file_whose_path_is_printed(cli: CommandLine, grid: dict[str, Any]) -> None:
    drawn = cli.run("tuning", "plot", "grid", "--output", "grid.svg")
    assert (drawn.code, drawn.out) == (0, f"{cli.directory}/grid.svg\n")
    picture = (cli.directory / "grid.svg").read_text()
    assert picture.startswith("<svg")
    for text in ("loss of the trials of grid", "best so far", ">lr<"):
        assert text in picture
    assert cli.run("tuning", "plot", grid["id"], "-o", "grid.svg").code == 0  # takes its place
    unwritable = cli.run("tuning", "plot", "grid", "--output", "no/such/folder/grid.svg")
    assert (unwritable.code, "it cannot be written: No such file or directory" in unwritable.err) == (2, True)
    assert cli.run("tuning", "plot", "none-such").code == 2


def tunings_of(cli: CommandLine) -> list[str]:
    """Their ids: one of another test may still come to its end."""
    return [item["id"] for item in cli.json("tuning", "list")["items"]]


def test_an_experiment_shows_its_tunings(cli: CommandLine, grid: dict[str, Any]) -> None:
    assert [one["id"] for one in cli.json("experiment", "show", "e1")["tunings"]] == [grid["id"]]
    assert "grid/1" in cli.run("experiment", "show", "e1").out


@pytest.mark.req("TUN-03", "TUN-08")
def test_a_preview_tells_trials_waves_instances_hours_and_the_points_and_makes_nothing(
    cli: CommandLine, tuned: Path
) -> None:
    before = tunings_of(cli)
    options = ("--max-trainings", "7", "--parallel", "2", "--random-state", "5", "--strategy", "random")
    limits = ("--workers", "3", "--max-time", "90m")
    asked = tune(tuned, "asked", *options, *limits, space="lr=DOUBLE[1e-4,1,log]")[1:]
    found = cli.json("tuning", "preview", *asked)

    assert (found["trials"], found["waves"], found["workers"], found["instances"]) == (7, 4, 3, 6)
    assert found["worst_case_hours"] == 6
    assert len(found["points"]) == 5
    assert found["points"] == cli.json("tuning", "preview", *asked)["points"]
    assert cli.json("tuning", "preview", *asked, "--max-tuning-time", "2h")["worst_case_hours"] == 2
    read = cli.run("tuning", "preview", *asked).out
    for part in ("7, 2 at once: 4 waves", "6 of c1m2 (3 workers x 2 at once)", "6h 00m", "DOUBLE[1e-4,1,log]"):
        assert part in read
    assert tunings_of(cli) == before


@pytest.mark.req("TUN-08")
def test_a_tuning_runs_the_points_of_its_preview(cli: CommandLine, tuned: Path) -> None:
    asked = tune(tuned, "foretold", "--max-trainings", "3", "--random-state", "11", "--strategy", "bayesian")
    points = cli.json("tuning", "preview", *asked[1:])["points"]
    ended = cli.json(*asked)

    assert ended["random_state"] == 11
    trials = trials_of(cli, "foretold")
    assert [(t["number"], t["hyperparameters"]) for t in trials] == [
        (point["number"], point["hyperparameters"]) for point in points
    ]


@pytest.mark.req("TUN-14")
def test_a_tuning_that_is_there_can_be_previewed_with_other_settings(cli: CommandLine, grid: dict[str, Any]) -> None:
    assert cli.json("tuning", "preview", "grid")["points"][1]["hyperparameters"] == {"lr": "0.2"}
    finer = cli.json("tuning", "preview", grid["id"], "--param", "lr=DOUBLE[0.1,0.4,step=0.01]", "--parallel", "4")
    assert (finer["trials"], finer["waves"]) == (31, 8)


def test_a_pipe_gets_a_line_for_each_trial_and_how_it_ended(cli: CommandLine, tuned: Path) -> None:
    ended = cli.run(*tune(tuned, "plain", "--strategy", "grid", space="lr=DISCRETE[0.3,0.1]"))

    lines = ended.out.splitlines()
    assert ended.code == 0, ended
    assert any(line.startswith("[makerflow] plain/1 SUCCEEDED loss=0.1 (best so far) lr=0.3 in ") for line in lines)
    assert any(line.startswith("plain (tun-") and "COMPLETE" in line for line in lines)
    assert "Best: plain/2" in lines
    assert "  makerflow tuning trials plain --sort objective" in lines


@pytest.mark.req("TUN-06", "TUN-13")
def test_a_tuning_that_fails_says_why_and_lists_what_went_wrong(cli: CommandLine, tuned: Path) -> None:
    options = ("--strategy", "grid", "--max-failed", "2")
    failed = cli.json(*tune(tuned, "odd", *options, entry_point="odd.py", space="lr=DISCRETE[1,2.5,3.5]"), code=1)
    succeeded, unavailable, broken = trials_of(cli, "odd")

    assert failed["status"] == "FAIL HYPERPARAMETER TUNING"
    assert "2 trainings failed" in failed["reason"]
    assert (succeeded["status"], succeeded["objective"]) == ("SUCCEEDED", 1)
    assert (unavailable["status"], unavailable["objective"]) == ("METRICS_UNAVAILABLE", None)
    assert (broken["status"], "3.5 is too much" in broken["reason"]) == ("FAILED", True)
    assert [t["number"] for t in trials_of(cli, "odd", "--status", "metrics-unavailable")] == [2]
    assert cli.json("metrics", "test", "odd/1")["metrics"]["loss"]["last"] == 1, "a reason advises this command"
    assert "makerflow tuning trials odd --status failed" in cli.run("tuning", "show", "odd").out


@pytest.mark.req("TUN-17")
def test_a_complete_tuning_goes_on_with_raised_limits_and_keeps_what_is_finished(cli: CommandLine, tuned: Path) -> None:
    first = cli.json(*tune(tuned, "more", "--strategy", "random", "--max-trainings", "2", "--random-state", "3"))
    before = trials_of(cli, "more")
    resumed = cli.json("tuning", "resume", "more", "--max-trainings", "4")

    assert (first["completed"], resumed["completed"], resumed["status"]) == (2, 4, "COMPLETE")
    assert trials_of(cli, "more")[:2] == before
    assert resumed["id"] == first["id"]


@pytest.mark.req("TUN-14", "COM-01", "COM-10")
def test_a_tuning_is_copied_changed_and_deleted(cli: CommandLine, grid: dict[str, Any]) -> None:
    copied = cli.json("tuning", "copy", "grid", "--param", "lr=DOUBLE[0.3,0.4,step=0.1]", "--output", "elsewhere")
    assert (copied["name"], copied["completed"], copied["tags"]) == ("grid-2", 2, {"team": "vision"})
    assert (cli.directory / "elsewhere" / "grid-2" / "1" / "model.txt").exists()

    changed = cli.json("tuning", "change", "grid-2", "--description", "narrower", "--tag", "stage=1")
    assert (changed["description"], changed["tags"]) == ("narrower", {"team": "vision", "stage": "1"})
    assert cli.json("tuning", "change", "grid-2", "--remove-tag", "stage")["tags"] == {"team": "vision"}

    unanswered = cli.run("tuning", "delete", "grid-2")
    assert (unanswered.code, "with its 2 trials" in unanswered.err, "--yes" in unanswered.err) == (2, True, True)
    plot = Path(cli.json("tuning", "plot", "grid-2")["path"])
    assert plot == cli.home / "plots" / "grid-2.svg"
    assert plot.is_file()
    assert cli.json("tuning", "delete", "grid-2", "--yes")["deleted"] is True
    assert not plot.exists()
    assert cli.run("tuning", "show", "grid-2").code == 2
    assert (cli.directory / "elsewhere" / "grid-2" / "1" / "model.txt").exists()


@pytest.mark.req("TPL-02")
def test_a_tuning_of_a_template_fixes_its_hyperparameters_but_those_with_a_range(cli: CommandLine, tuned: Path) -> None:
    options = ("--algorithm", str(tuned), "--entry-point", "train.py", "--hp", "lr=0.5", "--hp", "depth=3")
    template = cli.json("template", "create", "--name", "nightly", *options)
    ranges = ("--param", "lr=DISCRETE[0.1,0.2]", "--strategy", "grid", "--objective", "loss", "--tag", "night=1")
    made = cli.json("tune", "--from-template", "nightly", *ranges)

    assert made["status"] == "COMPLETE"
    assert made["name"].startswith("nightly-")
    assert (made["hyperparameters"], made["tags"]) == ({"depth": "3"}, {"night": "1"})
    assert made["template"]["id"] == template["id"]
    assert cli.json("tuning", "trial", made["name"], "1")["all_hyperparameters"] == {"depth": "3", "lr": "0.1"}


@pytest.mark.req("TUN-01", "COM-03")
def test_a_tuning_is_described_by_a_file_whose_paths_start_from_its_folder(cli: CommandLine, tuned: Path) -> None:
    (cli.directory / "space.yaml").write_text(
        "name: filed\nalgorithm: code\nentry-point: train.py\n"
        "parameters:\n  - {name: lr, type: DISCRETE, values: [0.1, 0.3]}\n"
        "strategy: grid\nobjective: loss\nobjective-type: maximize\nmetrics: [loss]\n"
        "parallel: 2\nmax-time: 2m\nmax-tuning-time: 10m\nearly-stopping: {start_step: 2}\noutput: filed\n"
    )
    ended = cli.json("tune", "-f", "space.yaml", "--keep", "best 1")

    assert (ended["status"], ended["best"]["hyperparameters"]) == ("COMPLETE", {"lr": "0.3"})
    assert ended["spec"]["early_stopping"] == {"rule": "MEDIAN", "min_trainings_required": 3, "start_step": 2}
    assert ended["spec"]["trainings"]["max_tuning_minutes"] == 10
    assert (cli.directory / "filed" / "filed" / "2" / "model.txt").exists()
    assert not (cli.directory / "filed" / "filed" / "1" / "model.txt").exists()


@pytest.mark.req("TUN-14", "TUN-17")
def test_ctrl_c_once_stops_the_tuning_which_can_be_resumed(cli: CommandLine, tuned: Path) -> None:
    with cli.start(*held(cli, tuned, "once", "--parallel", "2")) as command:
        command.read_until("once/2 RUNNING")
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running")
        ended = command.end()
    killed = trials_of(cli, "once")
    cli.let_go("once")
    resumed = cli.json("tuning", "resume", "once")

    assert (ended.code, "STOPPED" in ended.out) == (130, True)
    assert {trial["status"] for trial in killed} == {"KILLED"}
    assert (resumed["status"], resumed["completed"]) == ("COMPLETE", 4)
    assert [trial["runs"] for trial in trials_of(cli, "once")] == [2, 2, 1, 1]


def test_ctrl_c_twice_leaves_the_tuning_running_and_says_how_to_follow_it_again(cli: CommandLine, tuned: Path) -> None:
    with cli.start(*held(cli, tuned, "twice"), "--json") as command:
        command.read_until("twice/1 RUNNING", error=True)
        command.interrupt()
        command.read_until("Ctrl-C again leaves it running", error=True)
        command.interrupt()
        ended = command.end()
    running = cli.json("tuning", "show", "twice")
    cli.let_go("twice")
    resumed = cli.json("tuning", "resume", "twice")

    assert ended.code == 130
    assert "makerflow tuning resume twice" in ended.err
    assert (ended.document["status"], running["status"]) == ("RUNNING", "RUNNING")
    assert (resumed["status"], resumed["completed"], resumed["id"]) == ("COMPLETE", 4, running["id"])


@pytest.mark.req("TUN-14", "TUN-17")
@pytest.mark.usefixtures("forked_followers")
def test_a_stopped_tuning_is_gone_on_with_by_another_process_also_with_other_limits(
    cli: CommandLine, tuned: Path
) -> None:
    cli.json(*held(cli, tuned, "away"), "--detach")
    wait_for_trial(cli, "away", "RUNNING")
    cli.json("tuning", "stop", "away")
    resumed = cli.json("tuning", "resume", "away", "--parallel", "2", "--detach")
    cli.let_go("away")
    ended = cli.json("tuning", "resume", "away")

    assert resumed["status"] in ("CREATE IN PROGRESS", "RUNNING")
    assert (ended["status"], ended["completed"], ended["spec"]["trainings"]["parallel_trainings"]) == ("COMPLETE", 4, 2)
    assert trials_of(cli, "away")[0]["runs"] == 2


@pytest.mark.req("TUN-14", "COM-10")
def test_a_detached_tuning_is_stopped_from_another_process(cli: CommandLine, tuned: Path) -> None:
    detached = cli.json(*held(cli, tuned, "detached"), "--detach")
    wait_for_trial(cli, "detached", "RUNNING")
    deleted = cli.run("tuning", "delete", "detached", "--yes")
    alone = cli.run("training", "stop", "detached/1")
    advice = cli.json("training", "show", "detached/1")["next"]
    stopped = cli.json("tuning", "stop", "detached")

    assert detached["name"] == "detached"
    assert (deleted.code, "makerflow tuning stop detached" in deleted.err) == (1, True)
    assert (alone.code, "makerflow tuning stop detached" in alone.err) == (1, True)
    assert "makerflow tuning resume detached" in advice
    assert stopped["status"] == "STOPPED"
    assert cli.json("tuning", "delete", "detached", "--yes")["deleted"] is True


@pytest.mark.req("TUN-02", "TUN-05", "TUN-06", "TUN-07", "COM-05")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "--param: it is needed, e.g. --param 'lr="),
        (("--param", "lr=DOUBLE[0,1]"), "--objective: it is needed"),
        (("--param", "lr"), "--param 'lr': it is not written as a parameter is"),
        (("--param", "lr=INT[5,1]", "--objective", "l"), "--param: parameter 'lr': max 1 is below min 5"),
        (("--param", "lr=DOUBLE[0,1]", "--param", "lr=INT[0,1]", "--objective", "l"), "--param: "),
        (("--param", "lr=DOUBLE[0,1]", "--objective", "l", "--strategy", "grid"), "a GRID needs one"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--strategy", "grid", "--max-trainings", "5"), "9 points"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--strategy", "best"), "--strategy 'best'"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--parallel", "11"), "--parallel: "),
        (("--param", "a=INT[1,9]", "--objective", "l", "--max-failed", "0"), "--max-failed: 0 would end"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--goal", "nan"), "--goal: "),
        (("--param", "a=INT[1,9]", "--objective", "l", "--metric-name", "acc"), "--objective: "),
        (("--param", "a=INT[1,9]", "--objective", "l", "--hp", "a=1"), "--param: 'a' is both"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--keep", "some"), "--keep: "),
        (("--param", "a=INT[1,9]", "--objective", "l", "--max-tuning-time", "5"), "--max-tuning-time '5'"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--flavor", "huge"), "The flavor 'huge'"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--warm-start", "none"), "There is no tuning 'none'"),
        (("--param", "a=INT[1,9]", "--objective", "l", "--from-template", "none"), "There is no template 'none'"),
        (("-f", "broken.yaml"), "-f broken.yaml: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_tuning_cannot_be_is_told_under_its_option_and_makes_nothing(
    cli: CommandLine, tuned: Path, given: tuple[str, ...], told: str
) -> None:
    (cli.directory / "broken.yaml").write_text("name: a\nparameters: [lr=DOUBLE[0,1]\n")
    before = tunings_of(cli)
    asked = ("--name", "refused", "--algorithm", str(tuned), "--entry-point", "train.py", *given)
    for command in (("tune",), ("tuning", "preview")):
        ended = cli.run(*command, *asked)
        assert ended.code == 2, ended
        assert told in ended.err
    assert tunings_of(cli) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("tuning show none", "`makerflow tuning list` shows those that exist"),
        ("tuning trials grid --status done", "One of: CREATED, RUNNING, SUCCEEDED"),
        ("tuning trials grid --sort loss", "Use number or objective"),
        ("tuning change grid", "nothing is given to change"),
        ("tuning resume grid --max-trainings 0", "--max-trainings: "),
        ("tuning preview grid --from-template x", "--from-template"),
        ("tuning list --status done", "One of: CREATE REQUESTED"),
    ],
)
def test_a_command_that_is_given_something_wrong_says_what_is_right(
    cli: CommandLine, grid: dict[str, Any], arguments: str, told: str
) -> None:
    ended = cli.run(*arguments.split())
    assert ended.code == 2, ended
    assert told in ended.err


@pytest.mark.req("TUN-14")
def test_a_tuning_that_is_over_cannot_be_stopped_which_is_told_with_its_name(
    cli: CommandLine, grid: dict[str, Any]
) -> None:
    ended = cli.run("tuning", "stop", "grid")
    assert (ended.code, f"grid ({grid['id']}) is COMPLETE: there is nothing of it to stop" in ended.err) == (1, True)


def test_nothing_of_the_tuning_that_has_the_name_already_is_shown(
    cli: CommandLine, tuned: Path, grid: dict[str, Any]
) -> None:
    ended = cli.run(*tune(tuned, "grid", "--strategy", "grid"), "--json")

    assert ended.code == 2
    assert ended.document["error"]["type"] == "AlreadyExistsError"
    assert "COMPLETE" not in ended.err
