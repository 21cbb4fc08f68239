"""A platform and a browser: `makerflow up` on a home of its own, and the machine's Chromium, which opens its UI."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browser.ui import Ui
from tests.e2e.browser.whole_platform import WholePlatform
from tests.processes import processes_of
from tests.servers import free_port
from tests.waiting import wait_for

CHROMIUM_FLAGS = ("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync")


LEARNS = """
import os, pathlib, time

for step in range(1, 6):
    print(f"step={step} loss={float(os.environ['EM_HP_LR']) / step:.4f}", flush=True)
go = pathlib.Path(os.environ["EM_HP_GO"])
while not go.exists() and not go.with_name("all-may-end").exists():
    time.sleep(0.05)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))  # one platform for all of them
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="package")
def chromium() -> str:
    """The machine's Chromium; none is downloaded."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="package")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholePlatform]:
    """The whole platform, which the package's tests share; each uses names of its own. Nothing may be left of it."""
    directory = tmp_path_factory.mktemp("platform")
    found = WholePlatform(directory, f"http://127.0.0.1:{free_port()}")
    found.start()
    yield found
    found.end()
    assert processes_of(found.home) == []


@pytest.fixture(scope="package")
def code(platform: WholePlatform) -> Iterator[Path]:
    """A folder with an entry point that learns at once, and ends when there is a file called as it is told."""
    directory = platform.directory / "code"
    directory.mkdir()
    (directory / "train.py").write_text(LEARNS)
    (directory / "data.csv").write_text("a,b\n1,2\n")
    yield directory
    (directory / "all-may-end").touch()
    wait_for(lambda: processes_of(platform.home) == [] or None, "what failed tests left to end")


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    # Of one test: while it runs, its event loop is in the way of every other one in this thread.
    with sync_playwright() as playwright:
        sandbox = os.geteuid() != 0  # Chromium's own does not work for root
        started = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=sandbox, args=[*CHROMIUM_FLAGS])
        yield started
        started.close()


@pytest.fixture
def ui(browser: Browser, platform: WholePlatform) -> Iterator[Ui]:
    """The workflow UI in a browser, which may talk to nobody but the platform."""
    pictures = os.environ.get("MAKERFLOW_TEST_SCREENSHOTS")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.on("websocket", lambda socket: requested.append(socket.url.replace("ws://", "http://", 1)))
    yield Ui(page, platform, Path(pictures) if pictures else None)
    context.close()
    outside = {url for url in requested if not url.startswith((f"{platform.url}/", "data:", "blob:"))}
    assert requested
    assert not outside
