"""What the commands that open a board say, by which a board opens also where the browser cannot read our file."""

import sys
import webbrowser
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.connections.settings import Settings
from blocks.gateway.access import Doorkeeper, Request, Verdict
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import Access
from deployments.cli.boards import show_board
from deployments.up.layout import make_layout

TOKEN = SecretStr("t" * 43)
URL = "http://127.0.0.1:4200/tensorboard/exp-1/"


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a home with a front door, on a machine with a browser."""
    monkeypatch.setattr(webbrowser, "open", lambda address: True)
    settings = Settings()
    FrontDoor(directory=make_layout(settings).directory, port=4200, token=TOKEN, boards=home).save()
    return settings


def test_a_terminal_is_told_an_address_that_opens_once_where_the_page_stays_empty(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_board(settings, URL, {}, open_it=True, as_json=False)
    told = capsys.readouterr()
    assert told.out == f"{URL}\n"
    [line] = told.err.splitlines()
    explained, _, address = line.rpartition(" ")
    assert explained == "If the page stays empty, open this within a minute:"
    assert address in (settings.home / "up" / "open.html").read_text()  # the same: what the browser has used is spent
    door = Doorkeeper(TOKEN, SecretStr(""))
    asked = Request("GET", address.removeprefix("http://127.0.0.1:4200"), {"host": "127.0.0.1:4200"})
    assert [door.decide(asked, Access.TOKEN) for _ in range(2)] == [Verdict.SIGNED_IN, Verdict.WRONG]


def test_a_log_is_told_no_address_that_opens_anything(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    show_board(settings, URL, {}, open_it=True, as_json=False)
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"{URL}\n", "")
