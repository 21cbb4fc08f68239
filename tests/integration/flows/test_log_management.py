"""With log management on, what a training prints and what the platform says of it is in the log store, exactly once."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.errors import InvalidInputError, LogStoreUnavailableError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.log_records import LogRecord, LogSource
from blocks.logs.base import LogStore, Reading
from blocks.logs.sqlite import SQLiteLogStore
from blocks.registry.records import Training
from flows.training import TrainingHandle, create_training
from flows.upkeep import upkeep
from tasks import log_collection, log_forwarding
from tests.flow_process import another_process
from tests.integration.flows.conftest import MakeSpec
from tests.integration.flows.test_training import SLEEPS
from tests.integration.test_log_forwarding import Collector, Trickle
from tests.waiting import wait_until

PRINTS = """
import os, pathlib, sys, time
for step in range(2000):
    print(f"rank {os.environ['RANK']} step={step} loss={1 / (step + 1)}")
print("ERROR: not really", flush=True)
done = pathlib.Path(os.environ["EM_HP_DONE"])
if os.environ["RANK"] == "0":
    done.write_text("")
    time.sleep(60)
while not done.exists():
    time.sleep(0.01)
raise ValueError("no such thing")
"""
GOES_ON = """
import os, time
for step in range(600):
    print(f"rank {os.environ['RANK']} step={step}", flush=True)
    time.sleep(0.01)
"""


def log_store() -> LogStore:
    store = open_platform().log_store
    assert store is not None
    return store


def records(query: str, limit: int = 10_000) -> list[LogRecord]:
    return list(log_store().search(query, limit=limit).records[::-1])


def bodies(query: str) -> list[str]:
    return [record.body for record in records(query)]


@pytest.mark.req("TRN-10", "LOG-01", "LOG-02")
def test_every_worker_s_lines_and_the_reason_of_a_failure_are_in_the_log_store(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    done = {"done": str(tmp_path / "done")}
    training = create_training(make_spec(PRINTS, workers=2, log_management=True, hyperparameters=done))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.FAIL_TRAIN
    its = f'category:"easymaker.training" AND trainingId:{training.id}'
    for rank in range(2):
        steps = [body for body in bodies(f"{its} AND rank:{rank}") if body.startswith(f"rank {rank} step=")]
        assert steps == [f"rank {rank} step={step} loss={1 / (step + 1)}" for step in range(2000)]
    errors = bodies(f"{its} AND logLevel:ERROR")
    assert errors.count("ERROR: not really") == 2
    assert "ValueError: no such thing" in errors
    assert any(body.startswith("FAIL TRAIN: ") and "no such thing" in body for body in errors)
    assert [record.body for record in records(its) if "rank" not in record.fields][-1].startswith("FAIL TRAIN: ")
    [said] = records('"CREATE REQUESTED"')
    document = said.document()
    assert (document["easymakerAppKey"], document["logType"]) == ("makerflow", "NHNCloud-AIEasyMaker")
    assert (document["trainingId"], document["trainingName"]) == (training.id, "t")


@pytest.mark.req("TRN-10")
def test_without_log_management_nothing_is_kept(make_spec: MakeSpec, home: Path) -> None:
    create_training(make_spec("print('hello')"))
    assert bodies("") == []
    assert not (home / "logs" / "store").exists()


@pytest.mark.req("TRN-10")
def test_with_the_log_store_switched_off_the_creation_is_refused_and_says_how_to_switch_it_on(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_LOG_STORE", "off")
    with pytest.raises(InvalidInputError, match=r"no log store is enabled.*Set MAKERFLOW_LOG_STORE=local"):
        create_training(make_spec("pass", log_management=True))
    assert open_platform().registry.trainings.page().items == ()


@pytest.mark.req("TRN-10")
def test_a_creation_that_failed_is_told_with_its_reason(make_spec: MakeSpec) -> None:
    create_training(make_spec("pass", log_management=True).changed(entry_point="other.py"))
    [failure] = records("logLevel:ERROR")
    assert failure.body.startswith("CREATE FAILED: ")
    assert "other.py" in failure.body


@pytest.mark.req("TRN-10", "COM-04")
@pytest.mark.usefixtures("forked_followers")
def test_the_lines_of_a_stopped_training_are_there(make_spec: MakeSpec) -> None:
    handle = create_training(make_spec(SLEEPS, log_management=True), wait=False)
    assert isinstance(handle, TrainingHandle)
    wait_for_line("ready")
    assert handle.stop().status is TrainingStatus.STOPPED
    assert bodies("rank:0")[0] == "ready"
    assert [body for body in bodies("logLevel:WARNING") if body.startswith("STOPPED")] != []
    assert max(Counter(bodies("")).values()) == 1


@pytest.mark.req("TRN-10", "COM-04")
def test_a_flow_that_is_killed_again_and_again_loses_and_doubles_no_line(make_spec: MakeSpec) -> None:
    spec = make_spec(GOES_ON, workers=2, log_management=True)
    for _ in range(2):
        before = len(bodies("step"))
        with another_process(create_training, spec) as flow:
            wait_until(lambda before=before: len(bodies("step")) > before)
            flow.kill()
    training = create_training(spec)
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    for rank in range(2):
        lines = bodies(f"rank:{rank} AND step")
        assert lines == [f"rank {rank} step={step}" for step in range(len(lines))]
        assert len(lines) == 600
    assert max(Counter(bodies("")).values()) == 1


def test_a_store_that_fails_for_a_while_gets_all_lines_later(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_collection, "TRY_AGAIN_SECONDS", 0.1)
    store, calls, append = log_store(), [0], SQLiteLogStore.append

    def fails_at_first(self: SQLiteLogStore, source: LogSource, reading: Reading) -> None:
        calls[0] += 1
        if calls[0] <= 3:
            raise LogStoreUnavailableError("x", "the disk is full")
        append(self, source, reading)

    monkeypatch.setattr(SQLiteLogStore, "append", fails_at_first)
    training = create_training(make_spec("for n in range(1000): print('line', n)", log_management=True))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert bodies("rank:0 AND line") == [f"line {n}" for n in range(1000)]
    assert "come into the log store later" in caplog.text
    store.close()


@pytest.mark.req("TRN-10", "COM-04")
def test_a_store_that_is_damaged_fails_no_training_and_takes_its_lines(
    make_spec: MakeSpec, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = home / "logs" / "store"
    store.mkdir(parents=True)
    (store / f"{datetime.now(UTC):%Y-%m-%d}.db").write_bytes(b"no database at all, but long enough" * 1000)
    training = create_training(make_spec("print('hello')", log_management=True))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert bodies("hello") == ["hello"]
    assert caplog.text.count("is damaged") == 1


@pytest.mark.req("TRN-10", "COM-04")
@pytest.mark.usefixtures("forked_followers")
def test_a_store_that_is_damaged_while_a_training_runs_has_all_its_lines_in_the_end(
    make_spec: MakeSpec, home: Path
) -> None:
    handle = create_training(make_spec(GOES_ON, log_management=True), wait=False)
    assert isinstance(handle, TrainingHandle)
    wait_until(lambda: len(bodies("step")) > 50)
    [file] = (home / "logs" / "store").glob("*.db")
    with file.open("r+b") as stream:
        stream.write(b"overwritten" * 10)
    os.truncate(f"{file}-wal", 0)
    assert bodies("nothing") == []  # whoever looks first sets it aside
    assert handle.wait().status is TrainingStatus.COMPLETE
    assert bodies("rank:0 AND step") == [f"rank 0 step={step}" for step in range(600)]
    assert max(Counter(bodies("")).values()) == 1
    assert len(list(file.parent.glob("*.damaged-?.db"))) == 1


@pytest.mark.req("LOG-01")
def test_the_same_records_reach_a_collector(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    monkeypatch.setenv("MAKERFLOW_LOG_COLLECTOR_URL", collector.url)
    monkeypatch.setenv("MAKERFLOW_LOG_COLLECTOR_AUTHORIZATION", "Bearer secret")
    create_training(make_spec("print('hello')", log_management=True))
    collector.close()
    assert collector.bodies == bodies("")
    assert collector.authorizations == {"Bearer secret"}


def test_a_collector_that_is_away_holds_up_no_training(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_forwarding, "LEFT_SECONDS", 0)
    monkeypatch.setenv("MAKERFLOW_LOG_COLLECTOR_URL", "http://127.0.0.1:1/")
    training = create_training(make_spec("print('hello')", log_management=True))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert "did not take the records" in caplog.text


def test_a_place_of_the_forwarder_that_cannot_be_used_is_told_and_fails_neither_training_nor_upkeep(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAKERFLOW_LOG_COLLECTOR_URL", "http://127.0.0.1:1/")
    (home / "logs" / "store" / "forwarded").mkdir(parents=True)
    training = create_training(make_spec("print('hello')", log_management=True))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert "forwarded is not available: Is a directory" in caplog.text
    assert upkeep().findings == ()


def test_a_collector_that_never_answers_holds_up_no_training(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Trickle(b"HTTP/1.1 200 OK\r\nX: ", b"x")
    monkeypatch.setattr(log_forwarding, "LEFT_SECONDS", 0)
    monkeypatch.setenv("MAKERFLOW_LOG_COLLECTOR_URL", collector.url)
    training = create_training(make_spec("print('hello')", log_management=True))
    ended = datetime.now(UTC)
    collector.close()
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert collector.asked.is_set()
    assert "did not answer in time" in caplog.text
    [printed] = records("hello")
    assert ended - printed.time < timedelta(seconds=25)  # a request alone might take 30


@pytest.mark.req("LOG-01")
def test_upkeep_removes_days_past_their_time(make_spec: MakeSpec, home: Path) -> None:
    create_training(make_spec("print('hello')", log_management=True))
    log_store().close()
    store = home / "logs" / "store"
    [today] = store.glob("*.db")
    today.rename(store / "2020-01-01.db")
    assert [finding.id for finding in upkeep(dry_run=True).findings] == ["logs of 2020-01-01"]
    assert bodies("hello") == ["hello"]
    assert [(finding.id, finding.done) for finding in upkeep().findings] == [("logs of 2020-01-01", "removed")]
    assert bodies("") == []
    assert upkeep().findings == ()


@pytest.mark.req("LOG-01")
def test_upkeep_removes_days_past_their_time_also_when_the_log_store_was_switched_off(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_LOG_STORE", "off")
    assert upkeep().findings == ()
    assert not (home / "logs" / "store").exists()
    monkeypatch.delenv("MAKERFLOW_LOG_STORE")
    create_training(make_spec("print('hello')", log_management=True))
    log_store().close()
    [today] = (home / "logs" / "store").glob("*.db")
    today.rename(today.with_name("2020-01-01.db"))
    monkeypatch.setenv("MAKERFLOW_LOG_STORE", "off")
    assert [(finding.id, finding.done) for finding in upkeep().findings] == [("logs of 2020-01-01", "removed")]
    assert not today.with_name("2020-01-01.db").exists()


PRINTS_TOO_MUCH = """
for number in range(40_000):
    print(number, "x" * 200)
raise ValueError("no such thing")
"""


@pytest.mark.req("TRN-10", "LOG-01")
def test_a_training_that_prints_too_much_takes_neither_room_from_others_nor_the_reason_of_its_failure(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAKERFLOW_LOG_STORE_GB", "0.064")  # so a day has 16 MB, a training 4 MB, and it prints 8 MB
    create_training(make_spec("print('before')", "other", log_management=True))
    training = create_training(make_spec(PRINTS_TOO_MUCH, log_management=True))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.FAIL_TRAIN
    said = bodies(f"trainingId:{training.id} AND logLevel:ERROR")
    assert any(body.startswith("worker 0 ended") for body in said)
    assert any(body.startswith("the run ended") for body in said)
    assert any(body.startswith("FAIL TRAIN: ") and "no such thing" in body for body in said)
    assert 0 < len(records(f"trainingId:{training.id} AND rank:0", limit=50_000)) < 40_000
    assert "The log store lacks lines of t" in caplog.text
    create_training(make_spec("print('after')", "another", log_management=True))
    assert bodies("before OR after") == ["before", "after"]


def test_a_line_without_an_end_is_kept_in_pieces() -> None:
    long = "x" * (log_collection.BODY_CHARACTERS + 1)
    assert list(log_collection.lines_of(f"a\n\n{long}\n".encode())) == ["a", "", long[:-1], "x"]


@pytest.mark.req("LOG-01")
def test_a_coloured_line_is_found_by_its_words_and_its_level(make_spec: MakeSpec) -> None:
    create_training(make_spec(r"print('\x1b[1;31mERROR\x1b[0m: no \x1b[4mdisk\x1b[m')", log_management=True))
    assert bodies("disk AND logLevel:ERROR") == ["ERROR: no disk"]


def wait_for_line(text: str) -> None:
    wait_until(lambda: text in bodies(""))
