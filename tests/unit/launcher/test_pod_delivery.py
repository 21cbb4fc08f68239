"""How long a worker's supervisor in a pod waits for what the sidecar uploads."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.cluster.kubernetes.manifests import UPLOAD_SECONDS
from blocks.cluster.layout import write_json
from blocks.cluster.outcome import Outcome
from blocks.domain.plan import ExitCause
from blocks.launcher import pod_supervisor
from blocks.launcher.delivery import STOP_PATIENCE_SECONDS
from blocks.launcher.pod import MESSAGE_BYTES, last_words
from blocks.launcher.pod_supervisor import DELIVERY_SECONDS, MOST_DEATHS, Patience, PodSupervisor
from blocks.launcher.pod_volume import DELIVERING, hold
from tests.waiting import wait_until

SOON, LONG = 0.3, 1.0
KINDS = ("model", "checkpoint", "tensorboard", "log")
FAILED, WENT_WELL = {"cause": "launcher_error"}, {"cause": "ok", "message": ""}


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodSupervisor:
    monkeypatch.setattr(pod_supervisor, "DELIVERY_SECONDS", SOON)
    worker = {
        "attempt": 1, "rank": 0, "argv": ["main.py"], "env": {}, "deadline": 0, "time_limit_seconds": 1,
        "log_limit_bytes": 1 << 20, "stop_file": str(tmp_path / "stop"), "watched": str(tmp_path),
    }  # fmt: skip
    write_json(tmp_path / "worker.json", worker)
    return PodSupervisor(str(tmp_path))


@pytest.fixture
def end_upload(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A sidecar uploads until this is called."""
    with open(hold(str(tmp_path / DELIVERING))) as lock:
        yield lock.close


def test_an_upload_has_all_the_time_that_it_takes(supervisor, tmp_path, end_upload):
    done = lambda: write_json(tmp_path / "delivered.json", WENT_WELL)  # noqa: E731
    threading.Timer(LONG, done).start()
    assert supervisor._delivered() == WENT_WELL


def test_one_that_never_begins_or_dies_and_does_not_come_back_does_not_keep_the_pod(supervisor, end_upload):
    threading.Timer(SOON, end_upload).start()
    assert supervisor._delivered() == FAILED
    assert supervisor._delivered() == FAILED


@pytest.mark.parametrize("how", ["signal", "annotation"])
def test_an_upload_does_not_keep_a_pod_that_is_to_end(supervisor, tmp_path, end_upload, how):
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(supervisor._delivered()))
    waiting.start()
    waiting.join(LONG)
    assert waiting.is_alive()
    if how == "signal":
        supervisor._ask()
    else:
        (tmp_path / "..data").write_text('{"cause": "stopped"}')
        (tmp_path / "stop").symlink_to(tmp_path / "..data")  # as the kubelet does
    wait_until(lambda: found == [FAILED], "it to give up")


def test_a_sidecar_that_is_started_again_has_its_time_but_one_that_dies_again_and_again_has_not():
    patience, now = Patience(0.0), 0.0
    for death in range(MOST_DEATHS):
        assert not patience.is_over(now := now + DELIVERY_SECONDS * 10, is_at_it=True, is_to_end=False)
        assert patience.is_over(now := now + 1, is_at_it=False, is_to_end=False) == (death == MOST_DEATHS - 1)


def test_what_is_to_end_is_over_before_kubernetes_kills_it():
    patience = Patience(0.0)
    assert not patience.is_over(100.0, is_at_it=True, is_to_end=True)
    assert not patience.is_over(100.0 + DELIVERY_SECONDS, is_at_it=True, is_to_end=True)
    assert patience.is_over(101.0 + DELIVERY_SECONDS, is_at_it=True, is_to_end=True)
    assert DELIVERY_SECONDS + STOP_PATIENCE_SECONDS <= UPLOAD_SECONDS


def test_a_record_that_has_no_place_is_told_to_kubernetes_all_the_same(supervisor, tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(pod_supervisor, "tell", told.append)
    (tmp_path / "exit-1.json").mkdir()
    supervisor.finish("ok", "")
    record = json.loads(told[0])
    assert record["cause"] == "user_error"
    assert record["message"].startswith("How it ended could not be written down")
    assert supervisor.code == 1


def test_of_last_words_that_are_too_long_that_the_log_was_uploaded_stays():
    uploads = [{"output": kind, "path": f"s3://b/{'p' * 700}/{kind}", "files": 1, "bytes": 2} for kind in KINDS]
    said = last_words(Outcome(ExitCause.OUTPUT_DENIED, "m" * 5000), {"uploads": uploads})
    assert len(said) <= MESSAGE_BYTES
    document = json.loads(said)
    assert [upload["output"] for upload in document["uploads"]] == ["log"]
    assert (document["cause"], document["message"][:3]) == ("output_denied", "mmm")
    short = json.loads(last_words(Outcome(ExitCause.OK, ""), {"uploads": uploads[:1]}))
    assert short == {"cause": "ok", "message": "", "uploads": uploads[:1]}
