"""`makerflow logs search`, as a user types it."""

from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from blocks.domain.errors import LogStoreFullError
from blocks.domain.log_records import LogSource
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import say
from tests.contract.test_log_store import print_without_end
from tests.e2e.command_line import CommandLine


@pytest.fixture(scope="module")
def kept(cli: CommandLine, code: Path) -> str:
    """A training with log management on that has failed; its name."""
    cli.json(
        "train", "--name", "kept", "--algorithm", str(code), "--entry-point", "fail.py", "--log-management", code=1
    )
    return "kept"


@pytest.mark.req("LOG-01", "LOG-02", "TRN-10")
def test_errors_of_a_training_are_found_by_fields(cli: CommandLine, kept: str) -> None:
    query = f'category:"easymaker.training" AND trainingName:{kept} AND logLevel:ERROR'
    items = cli.json("logs", "search", query)["items"]
    assert any("the data is not what it should be" in item["body"] for item in items)
    assert {item["logLevel"] for item in items} == {"ERROR"}
    assert [item["time"] for item in items] == sorted(item["time"] for item in items)
    assert cli.json("logs", "search", query + r' AND logType:"NHNCloud\-AIEasyMaker"')["items"] == items


def test_lines_are_printed_in_their_order_with_level_and_worker(cli: CommandLine, kept: str) -> None:
    ended = cli.run("logs", "search", "trainingName:kept AND (about OR REQUESTED)")
    assert ended.code == 0
    asked, about = (line.split(maxsplit=2) for line in ended.out.splitlines())
    assert (asked[1:], about[1:]) == (["INFO", "kept  CREATE REQUESTED"], ["INFO", "kept/0  about to fail"])
    assert datetime.fromisoformat(asked[0]) < datetime.fromisoformat(about[0])


def test_a_limit_leads_to_older_lines_by_a_cursor(cli: CommandLine, kept: str) -> None:
    everything = cli.json("logs", "search")["items"]
    newest = cli.json("logs", "search", "--limit", "2")
    older = cli.json("logs", "search", "--cursor", newest["cursor"])
    assert older["items"] + newest["items"] == everything
    assert f"--cursor {newest['cursor']}" in cli.run("logs", "search", "--limit", "2").err


def test_times_can_be_given_as_they_are_or_as_how_long_ago(cli: CommandLine, kept: str) -> None:
    everything = cli.json("logs", "search")["items"]
    assert cli.json("logs", "search", "--since", "1h", "--until", "2100-01-01")["items"] == everything
    assert cli.json("logs", "search", "--since", everything[-1]["time"])["items"] == everything[-1:]
    assert cli.json("logs", "search", "--until", "1h")["items"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["*a"], "The query at character 1, '*a'"),
        (["trainingId:("], "The query 'trainingId:('"),
        (["--since", "soon"], "--since 'soon': it is neither a time nor a duration"),
        (["--cursor", "soon"], "--cursor 'soon'"),
        (["--follow", "--json"], "--follow"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(cli: CommandLine, arguments: list[str], message: str) -> None:
    ended = cli.run("logs", "search", *arguments)
    assert (ended.code, "--json" in arguments or ended.out == "") == (2, True)
    assert message in ended.err


def test_without_a_log_store_nothing_is_searched_and_log_management_is_refused(cli: CommandLine, code: Path) -> None:
    off = CommandLine(cli.directory, {"MAKERFLOW_LOG_STORE": "off"})
    ended = off.run("logs", "search")
    assert (ended.code, "MAKERFLOW_LOG_STORE=off" in ended.err) == (2, True)
    arguments = ["train", "--name", "off", "--algorithm", str(code), "--entry-point", "train.py", "--log-management"]
    document = off.json(*arguments, code=2)
    assert "Set MAKERFLOW_LOG_STORE=local, or turn it off" in document["reason"]
    assert "off" not in [item["name"] for item in off.json("training", "list")["items"]]


def test_new_lines_are_followed_until_ctrl_c(cli: CommandLine, code: Path, kept: str) -> None:
    with cli.start("logs", "search", "trainingName:followed AND step", "--follow") as running:
        arguments = ["--algorithm", str(code), "--entry-point", "train.py", "--hp", "lr=1", "--log-management"]
        assert cli.run("train", "--name", "followed", *arguments).code == 0
        assert "step=3" in running.read_until("step=3")
        running.interrupt()
        assert running.end().code == 130


def test_the_doctor_says_what_the_log_store_holds(cli: CommandLine, kept: str) -> None:
    findings = [f for f in cli.json("doctor")["findings"] if f["check"] == "log store"]
    assert [finding["level"] for finding in findings] == ["ok"]
    assert " records from " in findings[0]["message"]


@pytest.mark.req("LOG-01", "TRN-10")
def test_whose_lines_of_today_are_missing_and_what_to_do_is_told_by_a_search_and_by_the_doctor(
    cli: CommandLine, tmp_path: Path
) -> None:
    own = CommandLine(cli.directory, {"MAKERFLOW_HOME": str(tmp_path), "MAKERFLOW_LOG_STORE_GB": "0.064"})
    store = SQLiteLogStore(tmp_path / "logs" / "store", most_bytes=64_000_000)
    with closing(store), pytest.raises(LogStoreFullError):
        print_without_end(store)
    found = own.run("logs", "search", "--limit", "1")
    assert found.code == 0
    assert "Not all of today is here: " in found.err
    assert "0.004 GB, is used up by digits" in found.err
    assert "MAKERFLOW_LOG_STORE_GB" in found.err
    assert "Not all" not in own.run("logs", "search", "--limit", "1", "--until", "1h").err
    [finding] = [f for f in own.json("doctor")["findings"] if f["check"] == "log store"]
    assert (finding["level"], "is used up by digits" in finding["message"]) == ("warning", True)
    assert "MAKERFLOW_LOG_STORE_GB" in finding["remedy"]


HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J cr\rover \u202eevil \x00 \N{SNOWMAN}"


def test_nothing_that_a_training_prints_or_a_query_holds_reaches_the_terminal_raw(
    cli: CommandLine, tmp_path: Path
) -> None:
    own = CommandLine(cli.directory, {"MAKERFLOW_HOME": str(tmp_path)})
    store = SQLiteLogStore(tmp_path / "logs" / "store")
    say(store, HOSTILE, origin=LogSource("app", "easymaker.training", training_name="\x1b[2Jname"))
    store.close()
    found = own.run("logs", "search", "evil")
    assert found.out.rstrip("\n").isprintable()
    assert found.out.endswith("red 2J crover evil \N{SYMBOL FOR NULL} \N{SNOWMAN}\n")
    refused = own.run("logs", "search", f"*{HOSTILE}")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.replace("\n", "").isprintable()
    document = own.run("logs", "search", "--json")
    assert document.out.replace("\n", "").isprintable()
    assert document.document["items"][0]["body"] == HOSTILE.replace("\x00", "\N{SYMBOL FOR NULL}")


@pytest.mark.req("LOG-01")
@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ('time:["2020-01-01T00:00+09:00" TO "2100-01-01T00:00:00.5-0130"]', True),
        ("time:[2020-01-01 TO 2100-01-01T16:00]", True),
        ("time:[2100-01-01 TO 2020-01-01]", False),
        ("NOT CREATE", True),
        ("NOT NOT CREATE", True),
        ('"\' OR 1=1 --"', False),
        ('body:"); DROP TABLE lines; --"', False),
        ("gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e", False),
        (" OR ".join(f"w{n}" for n in range(100)), False),
    ],
)
def test_odd_queries_are_answered(cli: CommandLine, kept: str, query: str, is_found: bool) -> None:
    document = cli.json("logs", "search", query)
    assert (document["items"] != []) is is_found


@pytest.mark.req("LOG-01")
def test_what_is_damaged_is_named_by_a_search_and_by_the_doctor(cli: CommandLine, tmp_path: Path) -> None:
    own = CommandLine(cli.directory, {"MAKERFLOW_HOME": str(tmp_path)})
    store = tmp_path / "logs" / "store"
    store.mkdir(parents=True)
    (store / "2026-01-01.db").write_bytes(b"no database at all, but long enough" * 1000)
    first, second = own.run("logs", "search", "NOT disk"), own.run("logs", "search")
    assert (first.code, first.out, second.code, second.out) == (0, "", 0, "")
    assert "Not searched, as damaged: 2026-01-01.damaged-1.db" in first.err
    assert second.err == f"Not searched, as damaged: 2026-01-01.damaged-1.db in {store}\n"
    assert own.json("logs", "search")["notSearched"] == ["2026-01-01.damaged-1.db"]
    assert own.json("logs", "search", "--since", "2026-02-01")["notSearched"] == []
    [finding] = [f for f in own.json("doctor")["findings"] if f["check"] == "log store"]
    assert (finding["level"], "2026-01-01.damaged-1.db" in finding["message"]) == ("warning", True)
