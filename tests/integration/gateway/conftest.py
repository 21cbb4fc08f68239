"""Front doors that the tests of a run share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.doubles.front_door import RunningFrontDoor, running_front_door

FLAGS = ("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync")
ACCESS_STRING = "ann:a password"


@pytest.fixture(scope="session")
def socket_directory() -> Iterator[Path]:
    """A directory whose path leaves room for the names of sockets."""
    directory = Path(tempfile.mkdtemp(prefix="mf-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def door(socket_directory: Path) -> Iterator[RunningFrontDoor]:
    """A front door whose UI and API are open to this machine."""
    directory = socket_directory / "open"
    directory.mkdir()
    with running_front_door(directory, idle_seconds=600, most_boards=2) as running:
        yield running


@pytest.fixture(scope="session")
def guarded_door(socket_directory: Path) -> Iterator[RunningFrontDoor]:
    """A front door that asks for an access string."""
    directory = socket_directory / "guarded"
    directory.mkdir()
    with running_front_door(directory, access_string=ACCESS_STRING) as running:
        yield running


@pytest.fixture
def own_directory(socket_directory: Path) -> Path:
    """The directory of a front door of the test's own."""
    return Path(tempfile.mkdtemp(dir=socket_directory))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not longer: while it runs, its event loop is in the way of every other one in this thread.
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        sandbox = os.geteuid() != 0  # Chromium's own does not work for root
        started = playwright.chromium.launch(executable_path=found, chromium_sandbox=sandbox, args=[*FLAGS])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that shares no cookie, cache or worker with another test's."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
