from pathlib import Path

import pytest

from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError
from blocks.gateway.front_door import FrontDoor
from deployments.cli.up import warning
from deployments.up.layout import make_layout
from deployments.up.request import make_front_door, make_request


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_starts_the_platform_without_an_access_string_is_told_who_can_act_as_them_and_what_to_set(
    host: str,
) -> None:
    text = warning(host, asks_for_access=False)
    assert "every account of this machine" in text
    assert "export MAKERFLOW_ACCESS_STRING=" in text
    assert warning(host, asks_for_access=True) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1"])  # noqa: S104 - what is warned of
def test_other_machines_are_served_with_an_access_string_only_and_with_a_warning_of_plain_http(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="TLS"):
        make_request(Settings(), host, 1)
    monkeypatch.setenv("MAKERFLOW_ACCESS_STRING", "me:password")
    assert make_request(Settings(), host, 1).host == host
    assert "TLS" in warning(host, asks_for_access=True)


def test_who_lets_others_come_through_a_proxy_has_to_ask_them_for_an_access_string(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAKERFLOW_HOSTS", "ml.example.com")
    with pytest.raises(InvalidInputError, match=r"MAKERFLOW_HOSTS=ml\.example\.com.*MAKERFLOW_ACCESS_STRING"):
        make_request(Settings(), "127.0.0.1", 1)
    monkeypatch.setenv("MAKERFLOW_ACCESS_STRING", "me:password")
    assert make_request(Settings(), "127.0.0.1", 1).host == "127.0.0.1"


def test_the_front_door_of_the_platform_knows_the_names_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MAKERFLOW_HOSTS", "ml.example.com,localhost:8443")
    monkeypatch.setenv("MAKERFLOW_ACCESS_STRING", "me:password")
    settings = Settings()
    door = make_front_door(settings, make_layout(settings), make_request(settings, "127.0.0.1", 4200))
    assert door.hosts == ("localhost", "127.0.0.1", "[::1]", "ml.example.com")
    assert "https://ml.example.com" in door.origins
    assert "https://localhost:8443" in door.origins
    assert FrontDoor.model_validate_json(door.save().read_bytes()).origins == door.origins
