"""What keeps workers that were given up from uploading."""

from pathlib import Path

import pytest

from blocks.domain.errors import InputMissingError, StorageUnavailableError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedOutput
from blocks.launcher import pod_fence
from blocks.launcher.pod_fence import Fence, FencedStores, SupersededError
from blocks.launcher.stores import Stores
from blocks.storage.base import LocalFile
from tests.unit.kubernetes.plans import make_plan


def fence(place: Path, attempt: int, life: str = "life") -> Fence:
    log = PlannedOutput(kind="log", path=f"file://{place}", connection="")
    return Fence(make_plan(outputs=(log,)), Stores({}), life, attempt)


@pytest.mark.req("TRN-08")
def test_a_later_attempt_keeps_all_earlier_ones_from_uploading_and_nobody_else(tmp_path):
    place, scratch = tmp_path / "logs", tmp_path / "scratch"
    scratch.mkdir()
    fence(place, 1).mark(scratch)
    assert not place.exists(), "the first attempt supersedes nobody"
    fence(place, 1).check()
    for _ in range(2):  # a container that was started again
        fence(place, 3).mark(scratch)
    for allowed in (fence(place, 3), fence(place, 4), fence(place, 1, "another life")):
        allowed.check()
    for earlier in (1, 2):
        with pytest.raises(SupersededError, match=f"Attempt 3 has taken the place of attempt {earlier}"):
            fence(place, earlier).check()


def test_what_others_have_put_there_is_no_mark(tmp_path):
    fence(tmp_path, 2).mark(tmp_path)
    [mark] = (tmp_path / "attempts").iterdir()
    for name in (mark.name + "9999999", mark.name[:-1] + "-3", mark.name[:-1] + "x", "3", "-3"):
        (mark.parent / name).write_text("")
    fence(tmp_path, 2).check()


def test_a_run_without_a_log_has_no_marks(tmp_path):
    none = Fence(make_plan(outputs=()), Stores({}), "life", 2)
    none.mark(tmp_path)
    none.check()
    assert list(tmp_path.iterdir()) == []


def test_its_stores_are_opened_until_there_is_a_later_attempt(tmp_path):
    told: list[SupersededError] = []
    stores = FencedStores(Stores({}), fence(tmp_path, 1), told.append)
    stores.open(f"file://{tmp_path}", "")
    fence(tmp_path, 2).mark(tmp_path)
    with pytest.raises(SupersededError):
        stores.open(f"file://{tmp_path}", "")
    assert [error.later for error in told] == [2]


def test_an_upload_that_has_begun_ends_when_there_is_a_later_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(pod_fence, "CHECK_SECONDS", 0.0)
    store = FencedStores(Stores({}), fence(tmp_path, 1), lambda _: None).open(f"file://{tmp_path}", "")
    for number in range(20):
        (tmp_path / f"part-{number}").write_text("x")
    files = [LocalFile(tmp_path / f"part-{number}", f"part-{number}") for number in range(20)]
    upload = store.upload(files, StoragePath.parse(f"file://{tmp_path}/model"), lambda _: None)
    next(upload)
    fence(tmp_path, 2).mark(tmp_path)
    with pytest.raises(SupersededError):
        list(upload)
    assert len(list((tmp_path / "model").iterdir())) < 20


def test_a_model_does_not_wait_for_the_store_of_the_log(tmp_path, monkeypatch):
    def away(self: Fence) -> None:
        raise StorageUnavailableError("log", "it is away")

    monkeypatch.setattr(Fence, "check", away)
    stores = FencedStores(Stores({}), fence(tmp_path, 1), lambda _: None)
    stores.open("obs://store.example/bucket/model", "")
    with pytest.raises(StorageUnavailableError):
        stores.open(f"file://{tmp_path}", "")


def test_a_log_that_has_no_place_keeps_nothing_else_from_being_uploaded(tmp_path, monkeypatch):
    def missing(*_: object) -> None:
        raise InputMissingError("bucket", "it does not exist")

    there = fence(tmp_path, 1)
    monkeypatch.setattr(there._stores.open(f"file://{tmp_path}", ""), "entries", missing)
    there.check()
