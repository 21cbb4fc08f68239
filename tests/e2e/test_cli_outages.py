"""What a command says while something it needs is away, and after it gave up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

import tasks.engine
from tests.e2e.command_line import CommandLine
from tests.e2e.test_cli_interrupts import waiting
from tests.servers import S3Server, free_port


@contextmanager
def away(postgres_url: str) -> Iterator[None]:
    """A database that ends its connections and takes no new ones."""
    url = postgres_url.replace("+psycopg", "")
    name = urlsplit(url).path.removeprefix("/")
    with psycopg.connect(url.replace(f"/{name}?", "/postgres?"), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_the_progress_goes_on_after_the_database_was_away(cli: CommandLine, code: Path, postgres_url: str) -> None:
    on_server = replace(cli, environment={"MAKERFLOW_REGISTRY_URL": postgres_url})
    with on_server.start(*waiting(cli, code, "outage")) as command:
        command.read_until("waiting")
        with away(postgres_url):
            told = command.read_until("The progress cannot be shown for now")
        cli.let_go("outage")
        shown = command.read_until("going on")
        ended = command.end()

    assert (ended.code, "COMPLETE" in ended.out) == (0, True), ended
    assert "any longer" not in told + shown + ended.out
    assert "waiting\n" not in shown, "what was shown before is not shown again"


@pytest.mark.req("COM-10")
def test_a_store_that_does_not_answer_is_named_while_it_is_tried_and_on_the_row_that_is_given_up(
    cli: CommandLine, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.make_bucket({"code/train.py": b"print('loss=1')"})
    monkeypatch.setattr(tasks.engine, "RETRY_DELAYS_SECONDS", [1.0, 0.1, 0.1])
    gone = {**s3_server.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    train = ["train", "--name", "away", "--algorithm", f"s3://{bucket}/code", "--entry-point", "train.py", "--json"]

    given_up = replace(cli, environment=gone).run(*train)
    row = cli.json("training", "show", "away")
    resumed = replace(cli, environment=s3_server.environment).json("training", "resume", "away")

    assert given_up.code == 1
    assert f"s3://{bucket}/code" in given_up.err
    assert "It is tried again" in given_up.err
    assert given_up.document["reason"] == row["reason"]
    assert given_up.document["error"]["type"] == "StorageUnavailableError"
    assert f"s3://{bucket}/code" in row["reason"]
    assert "is not available" in row["reason"]
    assert "makerflow training resume away" in row["reason"]
    assert resumed["status"] == "COMPLETE"
    assert "resume" not in resumed["reason"]
