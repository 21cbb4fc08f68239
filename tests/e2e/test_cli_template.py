"""Templates on the command line."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import CommandLine


@pytest.fixture(scope="module")
def nightly(cli: CommandLine, code: Path) -> dict[str, Any]:
    """The document of a template that has all a training needs but its `lr`."""
    (cli.directory / "nightly.yaml").write_text("algorithm: code\nhyperparameters: {depth: 3}\nmax-time: 5m\n")
    options = ("--entry-point", "train.py", "--tag", "team=vision", "--output", "out", "--description", "every night")
    return cli.json("template", "create", "--name", "nightly", "-f", "nightly.yaml", *options)


@pytest.mark.req("TPL-01", "COM-01", "COM-03")
def test_a_template_is_made_of_a_file_and_options_listed_and_shown(cli: CommandLine, nightly: dict[str, Any]) -> None:
    assert nightly["spec"]["algorithm"]["path"] == f"file://{cli.directory}/code"
    assert nightly["spec"]["outputs"]["path"] == f"file://{cli.directory}/out"
    assert (nightly["hyperparameters"], nightly["tags"]) == ({"depth": "3"}, {"team": "vision"})

    items = cli.json("template", "list", "--name", "night*", "--tag", "team=vision")["items"]
    assert [(item["name"], item["id"]) for item in items] == [("nightly", nightly["id"])]
    assert cli.json("template", "list", "--tag", "team=sound")["items"] == []
    assert cli.json("template", "show", nightly["id"]) == nightly
    shown = cli.run("template", "show", "nightly").out
    for part in ("every night", "team=vision", "depth", "5m 00s", "makerflow train --from-template nightly"):
        assert part in shown


@pytest.mark.req("TPL-02", "TRN-01", "TRN-12")
def test_a_training_of_a_template_shows_where_it_came_from(cli: CommandLine, nightly: dict[str, Any]) -> None:
    options = ("--hp", "lr=0.3", "--unset", "hp.depth", "--workers", "2", "--tag", "night=1", "--unset", "max-time")
    ended = cli.json("train", "--from-template", "nightly", *options)

    assert ended["status"] == "COMPLETE"
    assert ended["name"].startswith("nightly-")
    assert ended["description"] == ""
    assert (ended["hyperparameters"], ended["tags"]) == ({"lr": "0.3"}, {"team": "vision", "night": "1"})
    assert (ended["spec"]["limits"]["max_minutes"], ended["spec"]["instances"]["workers"]) == (1440, 2)
    assert (ended["template"]["id"], ended["template"]["name"]) == (nightly["id"], "nightly")
    assert f"nightly ({nightly['id']})" in cli.run("training", "show", ended["id"]).out
    copied = cli.json("training", "copy", ended["name"], "--unset", "tag.team", "--workers", "1")
    assert (copied["tags"], copied["template"]) == ({"night": "1"}, None)


@pytest.mark.req("TPL-02", "COM-05")
def test_zero_workers_beside_a_template_are_refused(cli: CommandLine, nightly: dict[str, Any]) -> None:
    refused = cli.run("train", "--from-template", nightly["name"], "--workers", "0")
    assert (refused.code, "workers" in refused.err, "Traceback" in refused.err) == (2, True, False)


@pytest.mark.req("TPL-01", "COM-03")
def test_a_template_is_changed_copied_and_deleted(cli: CommandLine, nightly: dict[str, Any]) -> None:
    copied = cli.json("template", "copy", "nightly", "--name", "weekly", "--hp", "lr=1", "--unset", "output")
    assert (copied["hyperparameters"], copied["description"]) == ({"depth": "3", "lr": "1"}, "every night")
    assert copied["spec"]["outputs"]["path"] == ""

    changed = cli.json("template", "change", "weekly", "--description", "", "--unset", "hp.depth", "--workers", "2")
    assert (changed["hyperparameters"], changed["description"]) == ({"lr": "1"}, "")
    assert (changed["spec"]["instances"]["workers"], changed["spec"]["limits"]["max_minutes"]) == (2, 5)

    unanswered = cli.run("template", "delete", "weekly")
    assert (unanswered.code, "--yes" in unanswered.err) == (2, True)
    assert cli.json("template", "delete", "weekly", "--yes")["deleted"] is True
    assert cli.json("template", "show", "nightly") == nightly


@pytest.mark.req("TPL-01", "TPL-02")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("template", "create"), "--name: it is needed"),
        (("template", "create", "--name", "nightly"), "A template named 'nightly' exists already"),
        (("template", "create", "--name", "other", "--workers", "65"), "--workers: "),
        (("template", "create", "--name", "other", "--image", "nothing"), "The image 'nothing'"),
        (("template", "change", "nightly"), "nothing is given to change"),
        (("template", "change", "nightly", "--unset", "hp.lr"), "The hyperparameters are: depth"),
        (("template", "change", "nightly", "--unset", "rate"), "there is no such setting"),
        (("template", "change", "nothing", "--workers", "2"), "`makerflow template list` shows"),
        (("train", "--from-template", ""), "There is no template ''"),
        (("train", "--from-template", "nothing"), "`makerflow template list` shows"),
        (("train", "--from-template", "nightly", "--workers", "65"), "less than or equal to 64"),
        (("train", "--from-template", "nightly", "--provided", "forest"), "--provided: "),
        (("train", "--unset", "hp.lr"), "The hyperparameters are: none"),
        (("template", "list", "--sort", "status"), "Sort by one of: created, changed, name;"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_template_cannot_be_is_told_and_changes_nothing(
    cli: CommandLine, nightly: dict[str, Any], arguments: tuple[str, ...], told: str
) -> None:
    trainings = cli.json("training", "list")["items"]
    ended = cli.run(*arguments)
    assert ended.code == 2
    assert told in ended.err
    assert cli.json("template", "show", "nightly") == nightly
    assert cli.json("training", "list")["items"] == trainings


@pytest.mark.req("TPL-02")
def test_data_of_a_template_that_is_gone_is_told_with_the_templates_name(
    cli: CommandLine, nightly: dict[str, Any]
) -> None:
    cli.json("template", "copy", "nightly", "--name", "outdated", "--dataset", "train=gone")
    ended = cli.json("train", "--from-template", "outdated", "--hp", "lr=1", code=1)

    assert ended["status"] == "CREATE FAILED"
    assert "'outdated' cannot be used with its datasets.train: " in ended["reason"]
    assert f"{cli.directory}/gone" in ended["reason"]
