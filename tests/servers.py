"""Real servers that tests start on loopback, each on a free port or a socket of its own."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS = 60.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class S3Server:
    """An S3 endpoint and the account that may do everything on it."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    log: IO[str] | None = field(default=None, repr=False, compare=False)

    def count(self, request: str) -> int:
        """How many requests there were for exactly this method and path: `GET /bucket/key`. Moto's server tells."""
        assert self.log is not None
        said = os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")
        return said.count(f'"{request} HTTP/')

    @property
    def address(self) -> str:
        """`host:port`, as an `obs://` path names the endpoint."""
        return self.endpoint_url.partition("://")[2]

    @property
    def environment(self) -> dict[str, str]:
        """What makes the AWS command line, and so the product, use this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
        }

    @contextmanager
    def client(self) -> Iterator["S3Client"]:
        """A boto3 client of the server, closed at the end."""
        import boto3  # it costs 0.1 s, which tests without a server need not pay
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}),
        )
        try:
            yield client
        finally:
            client.close()

    def make_bucket(self, objects: Mapping[str, bytes] | None = None) -> str:
        """The name of a new bucket that nobody else uses, with these objects in it."""
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        with self.client() as client:
            client.create_bucket(Bucket=bucket)
            for key, body in (objects or {}).items():
                client.put_object(Bucket=bucket, Key=key, Body=body)
        return bucket


@contextmanager
def moto_server(host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Moto's S3 server in a process of its own. It accepts any credentials and signature."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", "0"]
        with _process(command, log=log) as process:
            address = re.compile(rf"Running on (http://{re.escape(host)}:\d+)")
            _until(process, log, lambda: address.search(_said(log)) is not None)
            announced = address.search(_said(log))
            assert announced is not None
            yield S3Server(announced[1], "test-access-key", "test-secret-key", log=log)


def versitygw_binary() -> str | None:
    """The `versitygw` program: a real S3 server with signatures, when the machine has it."""
    return os.environ.get("MAKERFLOW_TEST_S3") or shutil.which("versitygw")


@contextmanager
def versitygw_server(binary: str, *arguments: str) -> Iterator[S3Server]:
    """A versitygw over a new directory; it refuses wrong credentials and honours conditional requests."""
    with tempfile.TemporaryDirectory(prefix="makerflow-s3-") as directory, tempfile.TemporaryFile("w+") as log:
        root = Path(directory, "buckets")
        root.mkdir()
        server = S3Server(f"http://127.0.0.1:{free_port()}", "test-access-key", "test-secret-key")
        environment = {
            "PATH": os.defpath,
            "ROOT_ACCESS_KEY": server.access_key_id,
            "ROOT_SECRET_KEY": server.secret_access_key,
        }
        command = [binary, *arguments, "--port", server.address, "--region", server.region, "posix", str(root)]
        with _process(command, log=log, env=environment) as process:
            _until(process, log, lambda: _accepts(server.address))
            yield server


def versitygw_user(binary: str, server: S3Server) -> S3Server:
    """The same server as a new account without rights. The server needs `--iam-dir` to know more than its root."""
    user = replace(server, access_key_id=f"user-{uuid.uuid4().hex[:8]}", secret_access_key="user-secret-key")
    root = ["--access", server.access_key_id, "--secret", server.secret_access_key]
    account = ["--access", user.access_key_id, "--secret", user.secret_access_key, "--role", "user"]
    command = [binary, "admin", *root, "--endpoint-url", server.endpoint_url, "create-user", *account]
    subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
    return user


def postgres_programs() -> Path | None:
    """The directory of PostgreSQL's server programs: what `PATH` has, or Debian's newest."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return debian[-1].parent if debian else None


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL that listens on a socket in `directory` only."""

    programs: Path
    directory: Path

    def make_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        command = [self.programs / "createdb", "-h", self.directory, "-U", "makerflow", name]
        subprocess.run(command, check=True, capture_output=True)
        return f"postgresql+psycopg://makerflow@/{name}?host={self.directory}"


@contextmanager
def postgres_server(programs: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL over a new cluster. It refuses to run as root, so root runs it as the package's user."""
    user = "postgres" if os.geteuid() == 0 else None
    with ExitStack() as stack:
        # Not pytest's own directory: a socket's path holds at most 107 bytes.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makerflow-pg-")))
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        if user:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        data = directory / "data"
        create = [programs / "initdb", "-D", data, "-U", "makerflow", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
        subprocess.run(create, check=True, capture_output=True, cwd=directory, **as_user)
        serve = [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"]
        process = stack.enter_context(_process([str(part) for part in serve], log=log, cwd=directory, **as_user))
        ready = [programs / "pg_isready", "-q", "-h", directory, "-U", "makerflow"]
        _until(process, log, lambda: subprocess.run(ready, check=False).returncode == 0)
        yield PostgresServer(programs, directory)


def free_port() -> int:
    """A port that was free a moment ago, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: list[str], *, log: IO[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast way out
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _said(log: IO[str]) -> str:
    """The log from its beginning. The server writes through the same open file, so our place must not move its own."""
    return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")


def _until(process: subprocess.Popen[bytes], log: IO[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start:\n{_said(log)}")
        time.sleep(0.02)


def _accepts(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
