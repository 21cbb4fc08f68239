"""Places that settings name and that cannot be used are refused by the name of the setting."""

import subprocess
import sys
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.errors import InvalidInputError, RegistryUnusableError
from deployments.cli.access import open_registry


@pytest.mark.parametrize("home", ["file", "file/below", "/proc/makerflow"])
def test_a_home_that_cannot_be_made_names_its_variable(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAKERFLOW_HOME", str(tmp_path / home))
    with pytest.raises(InvalidInputError, match=f"MAKERFLOW_HOME={tmp_path / home}: .*Set MAKERFLOW_HOME to"):
        open_registry()


def test_a_home_that_became_read_only_is_no_passing_trouble(home: Path) -> None:
    open_registry().close()
    program = "from deployments.cli.main import main; main()"
    mount = f"mount --bind '{home}' '{home}' && mount -o remount,bind,ro '{home}'"
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*namespace, mount], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount anything")
    command = f"{mount} && exec '{sys.executable}' -c '{program}' training list"
    ended = subprocess.run([*namespace, command], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == 1
    assert f"{home} is on a read-only file system" in ended.stderr
    assert "MAKERFLOW_HOME" in ended.stderr
    assert "Try again" not in ended.stderr


def test_only_the_home_is_made_and_no_other_directory_of_a_registry(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "typo" / "registry"
    monkeypatch.setenv("MAKERFLOW_REGISTRY_URL", f"sqlite:///{elsewhere}/x.db")
    with pytest.raises(RegistryUnusableError, match=f"there is no directory {elsewhere}.*MAKERFLOW_REGISTRY_URL"):
        open_registry()
    assert not elsewhere.parent.exists()


@pytest.mark.parametrize(
    ("name", "why"), [("missing.yaml", "No such file"), ("binary", "no text"), ("folder", "directory")]
)
def test_a_catalogue_that_is_named_and_cannot_be_read_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\xff\xfe")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("MAKERFLOW_CATALOGUE", str(tmp_path / name))
    with pytest.raises(InvalidInputError, match=f"{tmp_path / name}: .*{why}.*MAKERFLOW_CATALOGUE="):
        _ = open_platform().catalogue


def test_a_wrong_catalogue_is_told_by_its_path(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.yaml").write_text("flavours: []")
    monkeypatch.setenv("MAKERFLOW_CATALOGUE", str(tmp_path / "own.yaml"))
    with pytest.raises(InvalidInputError, match=f"{tmp_path}/own.yaml: flavours"):
        _ = open_platform().catalogue


def test_the_homes_own_catalogue_need_not_exist(home: Path) -> None:
    assert open_platform().catalogue.flavors
