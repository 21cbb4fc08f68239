"""`makerflow metrics test` as a user runs it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.domain.specs import ExperimentSpec
from blocks.domain.tunings import TuningSpec
from blocks.registry.database import open_registry
from tests.e2e.command_line import CommandLine
from tests.e2e.test_cli_training import train

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUTPUT = "starting\nstep=1 loss=0.5 acc=0.1\nval loss 0.6\nstep=2 loss=nan acc=\x1b[31m0.2\x1b[0m\n"


@pytest.fixture(scope="module")
def output(cli: CommandLine) -> Path:
    path = cli.directory / "output.log"
    path.write_text(OUTPUT)
    return path


@pytest.mark.req("TUN-04")
def test_each_line_that_gives_something_is_shown_with_a_summary(cli: CommandLine, output: Path) -> None:
    ended = cli.run("metrics", "test", "output.log")

    rows = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert rows[:5] == [
        ["LINE", "STEP", "METRIC", "VALUE"],
        ["2", "1", "loss", "0.5"],
        ["2", "1", "acc", "0.1"],
        ["4", "2", "loss", "nan"],
        ["4", "2", "acc", "0.2"],
    ]
    assert ["loss", "2", "nan", "0.5", "0.5", "1"] in rows
    assert ["acc", "2", "0.2", "0.1", "0.2"] in rows


@pytest.mark.req("TUN-04", "TUN-13")
def test_a_metric_that_is_not_found_comes_with_the_closest_line_and_what_to_do(cli: CommandLine, output: Path) -> None:
    ended = cli.run("metrics", "test", "--metric", "val_loss", str(output))

    assert ended.code == 1
    assert '"val_loss" was not found' in ended.out
    assert "The closest line: val loss 0.6" in ended.out
    assert 'print(f"val_loss={value}", flush=True)' in ended.out

    found = cli.run(
        "metrics", "test", "--metric", "val loss", "--expression", r"\b(val loss)\s+([-+.\w]+)", str(output)
    )
    assert found.code == 0


@pytest.mark.req("TUN-04")
def test_the_document_holds_all_of_it(cli: CommandLine, output: Path) -> None:
    found = cli.json("metrics", "test", "output.log", "--metric", "acc")
    assert found["reports"][2] == {"line": 4, "name": "loss", "text": "nan", "step": 2, "value": None}
    assert (found["found"], found["diagnosis"], found["not_shown"]) == (True, None, 0)
    assert found["metrics"]["acc"]["max"] == 0.2

    missed = cli.json("metrics", "test", "output.log", "--metric", "val_loss", code=1)
    assert missed["diagnosis"]["lines"][0] == "val loss 0.6"
    assert cli.json("metrics", "test", "/dev/null", code=1)["reports"] == []


def test_standard_input_is_read_and_only_the_first_reports_are_shown_unless_all_are_asked_for(cli: CommandLine) -> None:
    lines = "".join(f"loss={number}\n" for number in range(100))
    few = cli.run("metrics", "test", "-", stdin=lines)
    every = cli.run("metrics", "test", "-", "--all", stdin=lines)

    assert "80 more reports (--all shows them)" in few.out
    assert len(every.out.splitlines()) > 100
    assert every.out.splitlines()[-2].split() == few.out.splitlines()[-2].split() == ["loss", "100", "99", "0", "99"]


@pytest.mark.req("TUN-04")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--expression", "(a", "output.log"], "RE2 says: missing )"),
        (["--expression", "a", "output.log"], "its groups do not say"),
        (["--expression", r"(a+)+\1(b)", "output.log"], "RE2 says"),
        ([*["--expression", "(a)=(b)"] * 21, "output.log"], "are allowed (given: 21)"),
        (["nothing-of-this-name"], "no such file, and no such training"),
        (["nothing/17"], "no such file, and no such training"),
        (["x" * 5000], "no such file, and no such training"),
        (["."], "it is a directory"),
    ],
)
def test_what_cannot_be_used_is_refused_in_clear_words(
    cli: CommandLine, output: Path, arguments: list[str], told: str
) -> None:
    ended = cli.run("metrics", "test", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_what_users_print_is_inert(cli: CommandLine, output: Path) -> None:
    ended = cli.run(
        "metrics", "test", "-", "--metric", "loss", stdin="loss \x1b]0;title\x07 \x1b[31m0.3\x1b[0m\n\x07\n"
    )
    assert ended.code == 1
    assert "\x1b" not in ended.out
    assert "\x07" not in ended.out


@pytest.mark.req("TUN-04", "TUN-13")
def test_a_training_is_read_with_its_own_expressions_by_name_or_id(cli: CommandLine, code: Path) -> None:
    ended = cli.run(*train(code, "read", "train.py", "--metric", r"(loss) is (\S+)", "--json"))
    assert ended.code == 0, ended

    for key in ("read", ended.document["id"]):
        missed = cli.json("metrics", "test", key, code=1)
        assert missed["expressions"] == [r"(loss) is (\S+)"]
        assert missed["diagnosis"]["lines"] == ["step=1 loss=0.3000"]
        assert "Leave out the metric expressions" in missed["diagnosis"]["suggestion"]
    assert cli.json("metrics", "test", "read", "--expression", r"(\w+)=([\d.]+)")["metrics"]["loss"]["min"] == 0.1
    assert cli.run("metrics", "test", "read", "--rank", "1").code == 2
    assert "metrics test read" in cli.run("training", "metrics", "read").out

    (cli.directory / "read").write_text("acc=1\n")  # a file comes first
    assert list(cli.json("metrics", "test", "read")["metrics"]) == ["acc"]


@pytest.mark.req("TUN-13")
def test_a_trial_is_named_by_its_tuning_and_number_and_asked_for_its_objective(cli: CommandLine) -> None:
    with open_registry(f"sqlite:///{cli.home}/registry.db") as registry:
        experiment = registry.experiments.ensure(ExperimentSpec(name="tuned"))
        spec = TuningSpec.model_validate(
            {
                "name": "digits",
                "algorithm": "s3://bucket/code",
                "entry_point": "train.py",
                "parameters": ["lr=DOUBLE[0,1]"],
                "objective_metric": "val_loss",
                "max_trainings": 1,
            }
        )
        tuning = registry.tunings.create(spec, experiment.id)
        registry.tunings.add_trial(tuning, 1, {"lr": "0.5"}, "trn-" + "0" * 12)

    for key in ("digits/1", f"{tuning.id}/1"):
        document = cli.json("metrics", "test", key, code=1)
        assert (document["source"], document["metric"]) == ("digits/1", "val_loss")
    assert cli.run("metrics", "test", "digits/2").code == 2
