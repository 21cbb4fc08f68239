"""Every command, by its shape."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from blocks.domain.errors import InvalidInputError
from blocks.registry.thinning import LEAST_SPREAD
from deployments.cli.changing import changed_tags
from deployments.cli.loading import COMMANDS
from deployments.cli.root import answer, app


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    for name in command.list_commands(None):
        yield from leaves(command.get_command(None, name), (*path, name))


LEAVES = dict(leaves(typer.main.get_command(app)))


def test_there_is_a_command_for_everything_that_a_training_can_go_through() -> None:
    verbs = ["list", "show", "logs", "metrics", "monitor", "resume", "stop", "copy", "change", "delete"]
    trainings = {f"training {verb}" for verb in verbs}
    experiments = {f"experiment {verb}" for verb in ["create", "list", "show", "retry", "change", "delete"]}
    templates = {f"template {verb}" for verb in ["create", "list", "show", "change", "copy", "delete"]}
    verbs = ["preview", "list", "show", "trials", "trial", "resume", "stop", "copy", "change", "delete"]
    tunings = {f"tuning {verb}" for verb in verbs}
    rest = {
        "train",
        "tune",
        "doctor",
        "storage ls",
        "storage cp",
        "connection set",
        "connection test",
        "catalogue images",
    }

    assert trainings | tunings | experiments | templates | rest <= LEAVES.keys()


def test_text_that_looks_like_an_option_is_told_how_to_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["logs", "search", "-word"], as_json=False) == 2
    assert "Text that begins with - comes after --" in capsys.readouterr().err


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_has_help_and_json(words: str) -> None:
    command = LEAVES[words]

    assert "--json" in [name for parameter in command.params for name in parameter.opts]
    assert command.help


@pytest.mark.parametrize(
    "words", ["training delete", "tuning delete", "experiment delete", "template delete", "connection delete"]
)
def test_what_destroys_can_be_answered_in_advance(words: str) -> None:
    assert "--yes" in [name for parameter in LEAVES[words].params for name in parameter.opts]


def test_no_secret_can_be_given_as_an_argument() -> None:
    names = [name for parameter in LEAVES["connection set"].params for name in parameter.opts]

    assert not [name for name in names if "secret" in name or "token" in name]


def test_help_imports_nothing_that_takes_long() -> None:
    program = (
        "import sys\n"
        "from deployments.cli.main import run\n"
        "heavy = {'prefect', 'sqlalchemy', 'boto3', 'rich', 'numpy', 'pydantic_settings', 'blocks.domain.specs'}\n"
        f"for arguments in {[['--help'], *([name, '--help'] for name in COMMANDS)]}:\n"
        "    assert run(arguments) == 0\n"
        "    assert not heavy & sys.modules.keys(), (arguments, heavy & sys.modules.keys())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Usage: makerflow")
    assert ended.stdout.count("Usage: makerflow") == 1 + len(COMMANDS)


def test_a_list_imports_neither_prefect_nor_sqlalchemy(tmp_path: Any) -> None:
    program = (
        "import sys\n"
        "from deployments.cli.main import run\n"
        "run(['training', 'list'])\n"  # makes the database
        "for name in [n for n in sys.modules if n.partition('.')[0] in ('sqlalchemy', 'sqlmodel', 'alembic')]:\n"
        "    del sys.modules[name]\n"
        "from deployments.cli import access\n"
        "access._registry.cache_clear()\n"
        "assert run(['training', 'list']) == 0\n"
        "heavy = {'prefect', 'sqlalchemy', 'boto3'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"MAKERFLOW_HOME": str(tmp_path)}
    )

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["training", "change", "t"], "Give --description, --tag or --remove-tag"),
        (["training", "metrics", "t", "--csv", "--json"], "two of them are given"),
        (["training", "metrics", "t", "--at-most", "3"], f"greater than or equal to {LEAST_SPREAD}"),
    ],
)
def test_a_command_that_asks_for_nothing_or_too_much_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(arguments, as_json=False) == 2
    assert told in capsys.readouterr().err


def test_a_tag_that_is_not_there_cannot_be_removed_and_those_that_are_there_are_named() -> None:
    assert changed_tags({"a": "1", "b": "2"}, ["c=3"], ["a"]) == {"b": "2", "c": "3"}
    with pytest.raises(InvalidInputError, match=r"--remove-tag nope.*Its tags: a, b\."):
        changed_tags({"a": "1", "b": "2"}, [], ["nope"])


@pytest.mark.req("COM-11")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("experiment create first", ""),
        ("training schedule none --every 1d", "Error: There is no training"),
        ("training schedules", "Error: The Prefect server of"),
        ("template delete none --yes", "Error: There is no template"),
        ("upkeep", ""),
    ],
)
def test_the_first_command_of_a_new_home_says_nothing_but_its_own_error(
    arguments: str, error: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deployments.cli", *arguments.split()],
        capture_output=True,
        text=True,
        env={"MAKERFLOW_HOME": str(tmp_path / "new" / "home"), "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
    )

    assert ended.stderr.startswith(error)
    assert len(ended.stderr.splitlines()) == bool(error)


@pytest.mark.req("COM-11")
@pytest.mark.parametrize("module", ["flows.training", "deployments.schedules"])
def test_the_users_own_settings_of_prefect_are_not_taken_for_ours(module: str, tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        'active = "theirs"\n[profiles.theirs]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n'
    )
    program = f"import {module}, prefect.settings as s; print(s.PREFECT_HOME.value(), s.PREFECT_API_URL.value())"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
    )

    assert (ended.stdout, ended.stderr) == (f"{tmp_path / '.makerflow' / 'prefect'} None\n", "")
