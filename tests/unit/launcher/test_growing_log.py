"""A log is at its place while its worker still runs, where its machine may be lost."""

import os
from pathlib import Path

import pytest

from blocks.cluster.layout import RunLayout
from blocks.cluster.outcome import Outcome
from blocks.cluster.output import segment_file
from blocks.domain.plan import ExitCause, OutputKind, PlannedOutput
from blocks.launcher import delivery as module
from blocks.launcher.delivery import Delivery
from blocks.launcher.journal import Journal
from blocks.launcher.outputs import EARLIER_LOG
from blocks.launcher.stopping import StopSwitch
from blocks.launcher.stores import Stores
from tests.unit.kubernetes.plans import make_plan
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TRN-08")


class Worker:
    """One that prints, and what uploads that."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "store" / "output.log"
        self.private = directory / "private"
        self.private.mkdir()
        log = PlannedOutput(kind=OutputKind.LOG, path=f"file://{self.place.parent}")
        self.layout = RunLayout(directory, "run")
        self.layout.output(0).mkdir(parents=True)
        self.journal = Journal(self.layout)
        self.delivery = Delivery(
            self.layout, make_plan(outputs=(log,)), Stores({}), self.journal, StopSwitch(self.layout.stop),
            ranks=[0], open_files=lambda _: set(), growing_logs=self.private,
        )  # fmt: skip

    def print(self, text: str, offset: int = 0) -> None:
        with segment_file(self.layout.output(0), offset).open("a") as file:
            file.write(text)

    def read(self) -> str:
        return self.place.read_text() if self.place.exists() else ""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(module, "LOG_SECONDS", 0.02)
    monkeypatch.setattr(module, "SHARE_OF_TIME", 0)
    return Worker(tmp_path)


def test_what_is_printed_arrives_while_it_runs_and_all_of_it_at_the_end(worker):
    (worker.layout.worker(0) / EARLIER_LOG).write_text("of an earlier attempt\n")
    with worker.delivery.while_running():
        worker.print("a\n")
        wait_until(lambda: worker.read() == "of an earlier attempt\na\n", "the first line to arrive", 10)
        worker.print("b\n", offset=2)
        wait_until(lambda: worker.read().endswith("a\nb\n"), "the second one", 10)
        assert "uploaded" not in worker.layout.events.read_text(), "it is told at the end"
        worker.print("c\n", offset=2)
    assert worker.delivery.deliver_log(Outcome(ExitCause.OK)).cause is ExitCause.OK
    assert worker.read() == "of an earlier attempt\na\nb\nc\n"
    assert list(worker.private.iterdir()) == []


def test_a_store_that_refuses_for_a_while_costs_nothing(worker, capsys):
    worker.place.parent.write_text("in its way")
    with worker.delivery.while_running():
        worker.print("a\n")
        wait_until(lambda: "uploading the log while the worker runs" in capsys.readouterr().err, "a refusal", 10)
        worker.place.parent.unlink()
        wait_until(lambda: worker.read() == "a\n", "it to arrive", 10)


def test_what_nobody_has_foreseen_of_a_store_costs_one_upload_and_is_told(worker, capsys, monkeypatch):
    upload, troubles = module.upload_growing_log, [RuntimeError("a client's own")]

    def failing(*given):
        if troubles:
            raise troubles.pop()
        return upload(*given)

    monkeypatch.setattr(module, "upload_growing_log", failing)
    with worker.delivery.while_running():
        worker.print("a\n")
        wait_until(lambda: worker.read() == "a\n", "it to arrive", 10)
    said = capsys.readouterr().err
    assert "RuntimeError: a client's own" in said
    assert "uploading the log while the worker runs: a client's own" in said


def test_a_file_that_takes_no_room_where_it_is_fills_no_disk(worker, capsys):
    with segment_file(worker.layout.output(0), 0).open("wb") as file:
        file.truncate(10 << 40)
    with worker.delivery.while_running():
        wait_until(lambda: "is no file of a log" in capsys.readouterr().err, "it to be refused", 10)
    assert worker.read() == ""
    assert list(worker.private.iterdir()) == []


def test_a_pipe_in_the_place_of_earlier_output_is_empty_and_costs_no_log(worker):
    pipe = worker.layout.worker(0) / EARLIER_LOG
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDWR), "wb", buffering=0) as writer:
        writer.write(b"without end")
        worker.print("a\n")
        with worker.delivery.while_running():
            wait_until(lambda: worker.read() == "a\n", "it to arrive while it runs", 10)
        assert worker.delivery.deliver_log(Outcome(ExitCause.OK)).cause is ExitCause.OK
    assert worker.read() == "a\n"
