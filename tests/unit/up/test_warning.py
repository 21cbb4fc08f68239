import pytest

from blocks.connections.settings import Settings
from blocks.domain.errors import InvalidInputError
from deployments.cli.up import warning
from deployments.up.request import make_request


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
