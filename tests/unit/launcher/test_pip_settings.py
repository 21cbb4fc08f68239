from pathlib import Path

import pytest

from blocks.launcher.pip_settings import has_no_index, installer_environment, pip_settings


@pytest.fixture
def configured(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has a configuration file for pip, and no other settings."""
    file = tmp_path / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text(
        "[global]\nindex-url = https://mirror/simple\nextra-index-url =\n  https://one/simple\n  https://two/simple\n"
        "cert = /etc/own.pem\n[install]\ntrusted-host = mirror\nno_index = true\n[search]\nindex = x\n"
    )
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none"), "PATH": "/bin"}


def test_pips_configuration_file_is_told_to_uv(configured: dict[str, str]) -> None:
    environment = installer_environment(configured)
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert environment["UV_INDEX"] == "https://one/simple https://two/simple"
    assert environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environment["UV_INSECURE_HOST"] == "mirror"
    assert environment["SSL_CERT_FILE"] == "/etc/own.pem"
    assert has_no_index(configured)


def test_a_variable_of_pip_wins_over_its_file_and_uvs_own_over_both(configured: dict[str, str]) -> None:
    by_pip = installer_environment(configured | {"PIP_INDEX_URL": "https://pip/simple", "PIP_DEFAULT_TIMEOUT": "99"})
    assert (by_pip["UV_DEFAULT_INDEX"], by_pip["UV_HTTP_TIMEOUT"]) == ("https://pip/simple", "99")
    by_uv = installer_environment(configured | {"UV_DEFAULT_INDEX": "https://uv/simple"})
    assert by_uv["UV_DEFAULT_INDEX"] == "https://uv/simple"


def test_a_configuration_file_of_ones_own_wins_and_the_null_device_means_none(
    configured: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own.conf").write_text("[global]\nindex-url = https://own/simple\n")
    own = pip_settings(configured | {"PIP_CONFIG_FILE": str(tmp_path / "own.conf")})
    assert (own["index-url"], own["cert"]) == ("https://own/simple", "/etc/own.pem")
    assert "index-url" not in pip_settings(configured | {"PIP_CONFIG_FILE": "/dev/null"})


def test_a_broken_configuration_file_is_left_to_pip(configured: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken.conf").write_text("no section\n")
    assert pip_settings(configured | {"PIP_CONFIG_FILE": str(tmp_path / "broken.conf")})["cert"] == "/etc/own.pem"


def test_only_what_an_installer_needs_is_passed_on() -> None:
    environment = installer_environment(
        {"PATH": "/bin", "LC_ALL": "C", "https_proxy": "http://proxy", "MAKERFLOW_RUN": "/runs/7"}
        | {"PIP_CONFIG_FILE": "/dev/null"}
        | {"AWS_SECRET_ACCESS_KEY": "x", "PREFECT_API_KEY": "x", "MAKERFLOW_REGISTRY_URL": "x", "VIRTUAL_ENV": "/v"}
    )
    assert environment.keys() == {
        "PATH",
        "LC_ALL",
        "https_proxy",
        "MAKERFLOW_RUN",
        "PIP_CONFIG_FILE",
        "UV_SYSTEM_CERTS",
    }
