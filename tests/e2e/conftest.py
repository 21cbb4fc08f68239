from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import WAITS, CommandLine
from tests.processes import processes_of


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[CommandLine]:
    """The command with a home that the module's tests share; each uses names of its own. Nothing may be left of it."""
    directory: Path = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    command_line = CommandLine(directory)
    yield command_line
    assert processes_of(command_line.home) == []


@pytest.fixture(scope="module")
def code(cli: CommandLine) -> Path:
    """A folder of code: `train.py` reports metrics, `fail.py` raises, `wait.py` waits until it is let go."""
    directory = cli.directory / "code"
    directory.mkdir()
    (directory / "train.py").write_text(
        "import os, pathlib, sys\n"
        "rate = float(os.environ['EM_HP_LR'])\n"
        "for step in range(1, 4):\n"
        "    print(f'step={step} loss={rate / step:.4f}', flush=True)\n"
        "print('\\x1b[31m[bold]red[/bold]\\x1b[0m', 'rank', os.environ['RANK'])\n"
        "pathlib.Path(os.environ['EM_MODEL_DIR'], 'model.txt').write_text('fitted')\n"
    )
    (directory / "fail.py").write_text(
        "print('about to fail')\nraise SystemExit('the data is not what it should be')\n"
    )
    (directory / "wait.py").write_text(f"print('waiting', flush=True)\n{WAITS}print('going on', flush=True)\n")
    return directory
