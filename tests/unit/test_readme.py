"""What the README tells people to type exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.connections.settings import Settings
from blocks.domain.catalogues import load_catalogue
from blocks.domain.tunings import TuningSpec
from deployments.cli import main
from deployments.cli.tune import asked_for

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
WORD = re.compile(r"[a-z]+")


def commands() -> Iterator[list[str]]:
    """All that begins with `makerflow`, in text, tables (where siblings follow the first) and blocks."""
    for row in re.findall(r"^\| (`makerflow [^|]+) \|", README, re.MULTILINE):
        first, *siblings = [code.split() for code in re.findall(r"`([^`]+)`", row)]
        yield first[1:]
        yield from ([*first[1:-1], *sibling] for sibling in siblings)
    yield from (code.split()[1:] for code in re.findall(r"^makerflow .+", README, re.MULTILINE))
    yield from (code.split()[1:] for code in re.findall(r"`(makerflow [^`]+)`", README) if "|" not in code)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_of_the_readme_exists_with_its_options(words: list[str], capsys: pytest.CaptureFixture) -> None:
    group = ["training", "tuning", "template", "experiment", "connection", "storage", "catalogue", "logs", "metrics"]
    command = [word for word in words[: 2 if words[0] in group else 1] if WORD.fullmatch(word)]
    assert main.run([*command, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"makerflow {' '.join(command)}" in help_text
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|\s){option}\b", help_text), option


def test_every_target_of_the_readme_exists() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert set(re.findall(r"make ([a-z-]+)", README.partition("You need")[2])) - {"and"} <= set(targets[1].split())


def test_every_setting_of_the_readme_exists() -> None:
    fields = {f"MAKERFLOW_{name}".upper() for name in Settings.model_fields}
    assert set(re.findall(r"MAKERFLOW_[A-Z_]+", README)) <= fields
    assert fields <= set(re.findall(r"MAKERFLOW_[A-Z_]+", README))


def test_the_catalogue_of_the_readme_can_be_loaded() -> None:
    [text] = [text for text in YAML if text.startswith("images:")]
    catalogue = load_catalogue(text)
    assert catalogue.image("lab").python_path == "/opt/lab/bin/python"
    assert catalogue.flavor("half").vcpus == 0.5


def test_the_tuning_of_the_readme_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [text] = [text for text in YAML if text.startswith("# fine.yaml")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fine.yaml").write_text(text)
    spec = asked_for(Path("fine.yaml"), None, {})
    assert isinstance(spec, TuningSpec)
    assert (spec.name, spec.objective.goal, spec.trainings.kept) == ("fine", 0.11, 3)


PROGRAMS = dict(
    zip(
        ("entry point", "flow", "tuning", "run_deployment"),
        re.findall(r"```python\n(.*?)```", README, re.DOTALL),
        strict=True,
    )
)


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_the_code_of_the_readme_compiles(code: str) -> None:
    compile(code, "README.md", "exec")
