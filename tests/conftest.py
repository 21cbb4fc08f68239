"""What every test stands on: a private home, a quiet Prefect, and real servers on loopback."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports Prefect, which reads its settings once: no test touches the user's own home or calls outside.
_HOME = Path(tempfile.mkdtemp(prefix="makerflow-test-"))
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "MAKERFLOW_", "AWS_", "EM_"))]:
    if not _name.startswith("MAKERFLOW_TEST_"):
        del os.environ[_name]
os.environ |= {
    "MAKERFLOW_HOME": str(_HOME / "home"),
    "PREFECT_HOME": str(_HOME / "prefect"),
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
    "AWS_CONFIG_FILE": str(_HOME / "no-aws-config"),
    "AWS_SHARED_CREDENTIALS_FILE": str(_HOME / "no-aws-credentials"),
    "AWS_EC2_METADATA_DISABLED": "true",
}

import hypothesis  # noqa: E402 - the environment above comes first
import pytest  # noqa: E402 - the same

from tests.flow_process import start_forked_follower  # noqa: E402 - the same
from tests.servers import (  # noqa: E402 - the same
    PostgresServer,
    S3Server,
    moto_server,
    postgres_programs,
    postgres_server,
    versitygw_binary,
    versitygw_server,
)

# Two slow, shared cores say nothing about an example's time; the same examples each time keep a failure reproducible.
hypothesis.settings.register_profile("makerflow", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("makerflow")


def pytest_configure() -> None:
    # A shell starts what goes on in the background with Ctrl-C ignored, and every process below would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MAKERFLOW_HOME of the test's own, whose path leaves room for sockets' names; it does not exist yet."""
    directory = Path(tempfile.mkdtemp(dir=_HOME)) / "home"
    monkeypatch.setenv("MAKERFLOW_HOME", str(directory))
    return directory


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server that everybody has; it takes any credentials. Use a bucket of your own: `make_bucket()`."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def signed_s3_server() -> Iterator[S3Server]:
    """An S3 server that checks signatures: versitygw, where the machine has it."""
    binary = versitygw_binary()
    if binary is None:
        pytest.skip("versitygw is not on PATH (nor named by MAKERFLOW_TEST_S3)")
    with versitygw_server(binary) as server:
        yield server


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres_server(programs) as server:
        yield server


@pytest.fixture
def postgres_url(_postgres: PostgresServer) -> str:
    """The URL of a new, empty database on a real PostgreSQL."""
    return _postgres.make_database()


@pytest.fixture
def forked_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detached followers are forked, which takes half a second of a processor instead of three."""
    for module in ("flows.following", "flows.tuning", "tasks.taking_up"):
        monkeypatch.setattr(f"{module}.start_follower", start_forked_follower)
