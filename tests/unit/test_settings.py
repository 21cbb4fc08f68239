"""Settings come from variables of the environment; a wrong one is named, with one that is right."""

import os
from pathlib import Path

import pytest

from blocks.connections.platform import Platform
from blocks.connections.settings import Settings, read_settings
from blocks.domain.errors import InvalidInputError


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("MAKERFLOW_CPUS", "many", "valid number"),
        ("MAKERFLOW_CPUS", "inf", "finite"),
        ("MAKERFLOW_MEMORY_MIB", "-1", "greater than or equal to 0"),
        ("MAKERFLOW_CACHE_GB", "1e300", "less than or equal"),
        ("MAKERFLOW_NAS", "x", "no JSON"),
        ("MAKERFLOW_NAS", "[1]", "dictionary"),
        ("MAKERFLOW_NAS_VOLUMES", '{"nas1": "shared"}', "neither claim:NAME nor nfs:SERVER:/PATH"),
        ("MAKERFLOW_NODE_CACHE", "claim:Not_A_Name", "neither claim:NAME nor an absolute directory"),
        ("MAKERFLOW_NODE_CACHE", "relative", "neither claim:NAME nor an absolute directory"),
        ("MAKERFLOW_NAMESPACE", "my.team", "no name of a namespace"),
        ("MAKERFLOW_QUEUE", "My_Queue", "no name of a queue"),
        ("MAKERFLOW_IMAGE", "with space:1", "no name of a container image"),
        ("MAKERFLOW_IMAGE", "https://registry.example.com/makerflow", "no name of a container image"),
        ("MAKERFLOW_IMAGE", "registry.example.com/Makerflow:1", "no name of a container image"),
        ("MAKERFLOW_IMAGE_PULL_SECRETS", "key,Bad secret", "'Bad secret' is no name of a Secret"),
        ("MAKERFLOW_SERVICE_ACCOUNT", "No Such", "no name of a service account"),
        ("MAKERFLOW_NAS", '{"a": "rel"}', "'rel', is not an absolute path"),
        ("MAKERFLOW_PREFECT_API_URL", "bogus", "no URL"),
        ("MAKERFLOW_PREFECT_API_URL", "http://host:99999/api", "Port out of range"),
        ("PREFECT_API_URL", "ftp://host/api", "no URL"),
        ("MAKERFLOW_HOME", "~no-such-user/x", "no such user"),
        ("MAKERFLOW_CATALOGUE", "~no-such-user/x", "no such user"),
        ("MAKERFLOW_HOSTS", "https://ml.example.com", "'https://ml.example.com' is no host name"),
        ("MAKERFLOW_HOSTS", "ml.example.com, other", "' other' is no host name"),
        ("MAKERFLOW_HOSTS", "ml.example.com,", "'' is no host name"),
        ("MAKERFLOW_HOSTS", "*.example.com", "'*.example.com' is no host name"),
        ("MAKERFLOW_HOSTS", "ml.example.com.", "'ml.example.com.' is no host name"),
        ("MAKERFLOW_HOSTS", "ml.example.com:65536", "'ml.example.com:65536' is no host name"),
        ("MAKERFLOW_HOSTS", "ml.example.com:0", "'ml.example.com:0' is no host name"),
        ("MAKERFLOW_HOSTS", "me@ml.example.com", "'me@ml.example.com' is no host name"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name_what_is_wrong_and_an_example(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInputError) as refused:
        read_settings()
    assert refused.value.what == f"{variable}={value}"
    assert why in refused.value.why
    assert f"as in {variable}=" in refused.value.remedy
    assert not refused.value.remedy.endswith("=, or unset it.")


@pytest.mark.parametrize(
    "image",
    [
        "makerflow",
        "localhost:5000/makerflow",
        "registry.example.com/team/maker__flow-x:1.0_a",
        "[2001:db8::1]:5000/m@sha256:" + "0a" * 32,
        "",
    ],
)
def test_an_image_is_named_as_registries_do(monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    monkeypatch.setenv("MAKERFLOW_IMAGE", image)
    monkeypatch.setenv("MAKERFLOW_IMAGE_PULL_SECRETS", "key,key.two")
    settings = read_settings()
    assert (settings.image, settings.image_pull_secrets) == (image, ("key", "key.two"))


def test_hosts_are_names_or_addresses_with_or_without_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKERFLOW_HOSTS", "ML.example.com:8443,10.0.0.1,[2001:db8::1]:80,gpu_1")
    assert read_settings().hosts == ("ml.example.com:8443", "10.0.0.1", "[2001:db8::1]:80", "gpu_1")
    monkeypatch.setenv("MAKERFLOW_HOSTS", "")
    assert read_settings().hosts == ()


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "CPUS", "NAS", "CATALOGUE", "CACHE_GB"):
        monkeypatch.setenv(f"MAKERFLOW_{name}", "")
    settings = read_settings()
    assert settings.home == Path("~/.makerflow").expanduser()
    assert (settings.cpus, settings.nas, settings.is_catalogue_given) == (0, {}, False)


def test_a_relative_home_stays_where_it_is_for_processes_that_work_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAKERFLOW_HOME", "here")
    assert read_settings().home == tmp_path / "here"
    assert os.environ["MAKERFLOW_HOME"] == str(tmp_path / "here")


def test_on_kubernetes_the_platforms_own_image_has_to_be_named() -> None:
    with pytest.raises(InvalidInputError, match="MAKERFLOW_IMAGE: it is not set"):
        Platform(Settings(cluster="kubernetes")).check_image()
    Platform(Settings(cluster="kubernetes", image="registry.example.com/makerflow:1.0")).check_image()
    Platform(Settings()).check_image()
