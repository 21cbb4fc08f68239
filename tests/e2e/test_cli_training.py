"""A training's life on the command line."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrainingStatus
from blocks.registry.trainings import Trainings
from flows.training import delete_training, stop_training
from tasks.training import register_training
from tests.e2e.command_line import CommandLine


def train(code: Path, name: str, entry_point: str = "train.py", *more: str) -> list[str]:
    hyperparameters = ["--hp", "lr=0.3"] if entry_point == "train.py" else []
    return ["train", "--name", name, "--algorithm", str(code), "--entry-point", entry_point, *hyperparameters, *more]


pytestmark = pytest.mark.xdist_group("training command")


@pytest.fixture(scope="module")
def finished(cli: CommandLine, code: Path) -> dict[str, Any]:
    """The document of a training of two workers that went well."""
    options = ("--workers", "2", "--experiment", "e1", "--tag", "team=vision", "--max-time", "2m")
    ended = cli.spawn(*train(code, "finished", "train.py", *options, "--output", cli.place("out"), "--json"))
    assert ended.code == 0, ended
    return ended.document


@pytest.mark.req("TRN-01", "TRN-05", "TRN-08")
def test_a_training_that_went_well_is_complete_and_its_model_where_it_was_asked_for(
    cli: CommandLine, finished: dict[str, Any]
) -> None:
    assert finished["status"] == "COMPLETE"
    assert finished["outputs"]["model"] == cli.place("out")
    assert cli.read("out/model.txt") == "fitted"
    assert finished["metrics"]["loss"]["last"] == pytest.approx(0.1)


@pytest.mark.req("TRN-12", "COM-03")
def test_the_list_filters_by_name_status_tag_and_experiment(cli: CommandLine, finished: dict[str, Any]) -> None:
    def listed(*filters: str) -> list[str]:
        return [item["name"] for item in cli.json("training", "list", *filters)["items"]]

    matching = ("--name", "fini*", "--status", "complete", "--tag", "team=vision", "--experiment", "e1")
    assert listed(*matching) == ["finished"]
    assert listed("--tag", "team=sound") == []
    [item] = cli.json("training", "list", *matching)["items"]
    assert item["training_seconds"] > 0
    assert "finished" in cli.run("training", "list").out


@pytest.mark.req("TRN-12")
def test_show_tells_settings_history_outputs_metrics_and_what_to_do_next(
    cli: CommandLine, finished: dict[str, Any]
) -> None:
    shown = cli.json("training", "show", finished["id"])
    read = cli.run("training", "show", "finished").out

    assert shown["hyperparameters"] == {"lr": "0.3"}
    targets = [move["target"] for move in shown["history"]]
    assert (targets[0], targets[-1]) == ("CREATE REQUESTED", "COMPLETE")
    assert shown["workers"]["workers"] == 2
    for part in ("COMPLETE", "lr", "loss", "e1", "team=vision", "makerflow training logs finished"):
        assert part in read


def test_logs_of_each_worker_are_kept_and_inert(cli: CommandLine, finished: dict[str, Any]) -> None:
    assert cli.run("training", "logs", "finished").out.splitlines()[-1] == "[bold]red[/bold] rank 0"
    assert (
        cli.run("training", "logs", "finished", "-f", "--rank", "1", "--tail", "1").out == "[bold]red[/bold] rank 1\n"
    )
    assert len(cli.json("training", "logs", "finished", "--tail", "2")["lines"]) == 2
    assert cli.run("training", "logs", "finished", "--rank", "2").code == 2


def test_metrics_are_a_table_a_document_csv_or_a_picture(cli: CommandLine, finished: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(cli.run("training", "metrics", "finished", "--name", "loss", "--csv").out)))

    assert [(row["step"], row["value"]) for row in rows] == [("1", "0.3000"), ("2", "0.1500"), ("3", "0.1000")]
    assert [p["step"] for p in cli.json("training", "metrics", "finished")["metrics"]["loss"]["points"]] == [1, 2, 3]
    assert "0.3 @ 1" in cli.run("training", "metrics", "finished").out
    assert "⠀" in cli.run("training", "metrics", "finished", "--plot").out  # drawn in braille
    assert "loss" in cli.run("training", "metrics", "finished", "--name", "acc").err


@pytest.mark.req("TRN-14")
def test_a_copy_has_the_same_settings_but_those_that_are_overridden(cli: CommandLine, finished: dict[str, Any]) -> None:
    copied = cli.json("training", "copy", "finished", "--hp", "lr=0.6", "--workers", "1")

    assert copied["name"] == "finished-2"
    assert copied["metrics"]["loss"]["first"] == 0.6
    assert copied["tags"] == {"team": "vision"}
    assert cli.run("training", "delete", "finished-2", "--yes").code == 0  # the list's test knows of one such alone


@pytest.mark.req("TRN-14")
@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["followed", "detached"])
@pytest.mark.usefixtures("forked_followers")
def test_a_copy_without_a_name_is_a_training_of_its_own_also_when_another_takes_the_free_name_first(
    cli: CommandLine, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch, detach: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MAKERFLOW_HOME", str(cli.home))
    trainings = open_platform().registry.trainings
    free_name, others = trainings.free_name, []

    def taken_meanwhile(_: object, base: str) -> str:
        name = free_name(base)
        if not others:
            spec = trainings.get("finished").current_spec.changed(name=name)
            others.append(register_training.task.fn(spec, f"another {detach}"))
        return name

    monkeypatch.setattr(Trainings, "free_name", taken_meanwhile)
    copied = cli.json("training", "copy", "finished", *detach)
    cli.wait_for_status(copied["name"], "COMPLETE")
    assert (copied["name"], copied["id"] in others) == ("finished-3", False)
    assert trainings.get(others[0]).status is TrainingStatus.CREATE_REQUESTED
    stop_training(others[0])
    for name in ("finished-2", "finished-3"):
        delete_training(name)


@pytest.mark.req("COM-01")
def test_description_and_tags_can_be_changed_but_ten_tags_is_the_limit(
    cli: CommandLine, finished: dict[str, Any]
) -> None:
    changed = cli.json("training", "change", "finished", "--description", "the first", "--tag", "stage=1")
    assert changed["description"] == "the first"
    assert changed["tags"] == {"team": "vision", "stage": "1"}
    assert cli.json("training", "change", "finished", "--remove-tag", "stage")["tags"] == {"team": "vision"}

    too_many = [part for n in range(10) for part in ("--tag", f"t{n}=x")]
    refused = cli.run("training", "change", "finished", *too_many)
    assert refused.code == 2
    assert "10" in refused.err


def test_a_pipe_gets_plain_lines_with_the_output_and_how_it_ended(cli: CommandLine, code: Path) -> None:
    ended = cli.run(*train(code, "plain"))

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert "step=3 loss=0.1000" in lines
    assert "[bold]red[/bold] rank 0" in lines
    assert any("plain (trn-" in line and "COMPLETE" in line for line in lines)


def test_a_training_that_fails_says_why_and_what_to_do(cli: CommandLine, code: Path) -> None:
    failed = cli.json(*train(code, "failing", "fail.py"), code=1)
    shown = cli.run("training", "show", "failing").out

    assert failed["status"] == "FAIL TRAIN"
    assert "the data is not what it should be" in failed["reason"]
    assert "makerflow training copy failing" in shown


@pytest.mark.req("TRN-02", "COM-03")
def test_what_cannot_begin_is_told_with_its_exit_code(cli: CommandLine, code: Path, finished: dict[str, Any]) -> None:
    missing = cli.json(*train(code, "missing", "absent.py"), code=1)
    taken = cli.json(*train(code, "finished"), code=2)
    unknown = cli.json(*train(code, "unknown", "train.py", "--flavor", "huge"), code=2)

    stopped = cli.run("training", "stop", "finished")
    listed = cli.run("training", "list").out

    assert f"finished ({finished['id']}) is COMPLETE: there is nothing of it to stop" in stopped.err
    assert missing["reason"].splitlines()[0] in listed
    assert missing["status"] == "CREATE FAILED"
    assert "absent.py" in missing["reason"]
    assert taken["error"]["type"] == "AlreadyExistsError"
    assert "c1m2" in unknown["reason"]


@pytest.mark.req("TRN-02")
def test_nothing_of_the_training_that_has_the_name_already_is_shown(
    cli: CommandLine, code: Path, finished: dict[str, Any]
) -> None:
    ended = cli.spawn("training", "copy", "finished", "--name", "finished", "--json")

    assert ended.code == 2
    assert ended.document["status"] == "INVALID"
    assert ended.document["error"]["type"] == "AlreadyExistsError"
    assert "id" not in ended.document
    assert "COMPLETE" not in ended.err


@pytest.mark.req("TRN-16", "EXP-05", "COM-10")
def test_deleting_asks_first_and_an_experiment_in_use_stays(cli: CommandLine, code: Path) -> None:
    cli.json(*train(code, "doomed", "fail.py", "--experiment", "e2"), code=1)

    unanswered = cli.run("training", "delete", "doomed")
    in_use = cli.json("experiment", "delete", "e2", "--yes", code=1)
    deleted = cli.json("training", "delete", "doomed", "--yes")

    assert unanswered.code == 2
    assert "--yes" in unanswered.err
    assert "doomed" in in_use["reason"]
    assert deleted["deleted"] is True
    assert cli.run("training", "show", "doomed").code == 2
    assert cli.json("experiment", "delete", "e2", "--yes")["deleted"] is True


@pytest.mark.req("EXP-01", "EXP-04")
def test_an_experiment_shows_its_trainings(cli: CommandLine, finished: dict[str, Any]) -> None:
    created = cli.json("experiment", "create", "e3", "--description", "empty yet")
    assert created["status"] == "ACTIVE"
    assert cli.run("experiment", "create", "e3").code == 2
    assert cli.json("experiment", "change", "e3", "--description", "still")["description"] == "still"
    assert "finished" in [training["name"] for training in cli.json("experiment", "show", "e1")["trainings"]]
    assert {"e1", "e3"} <= {item["name"] for item in cli.json("experiment", "list")["items"]}
