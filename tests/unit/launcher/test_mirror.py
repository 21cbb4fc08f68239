import os
import time
from pathlib import Path

import pytest

from blocks.domain.plan import OutputKind, PlannedOutput
from blocks.launcher import mirror as mirrors
from blocks.launcher.mirror import Mirror
from blocks.launcher.tree import FoundFile, look


@pytest.fixture
def clock(monkeypatch):
    """Time passes when the test says so."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(mirrors.time, "monotonic", lambda: Clock.now)
    return Clock


def mirror(root: Path, kind: OutputKind = OutputKind.CHECKPOINT) -> Mirror:
    return Mirror(root, PlannedOutput(kind=kind, path="file:///out"), 0)


def keys(files: list[FoundFile]) -> set[str]:
    return {file.key for file in files}


def test_a_file_is_ready_when_it_has_not_changed_for_a_moment(tmp_path, clock):
    watched = mirror(tmp_path)
    (tmp_path / "a").write_text("1")
    assert not watched.ready()
    clock.now += 0.5
    assert not watched.ready()
    (tmp_path / "a").write_text("12")
    clock.now += 0.9
    assert not watched.ready()
    clock.now += 1
    assert keys(watched.ready()) == {"a"}


def test_a_file_that_was_renamed_into_place_is_ready_at_once(tmp_path, clock):
    (tmp_path / "a.tmp").write_text("1")
    changed = os.stat(tmp_path / "a.tmp").st_ctime_ns
    deadline = time.time() + 10
    while os.stat(tmp_path / "a.tmp").st_ctime_ns == changed and time.time() < deadline:
        os.rename(tmp_path / "a.tmp", tmp_path / "a")  # until the kernel's clock has ticked
        os.rename(tmp_path / "a", tmp_path / "a.tmp")
    os.rename(tmp_path / "a.tmp", tmp_path / "a")
    assert keys(mirror(tmp_path).ready()) == {"a"}


def replace(file: Path, content: str) -> None:
    """Rename it into place, within one tick of the kernel's clock as a rule."""
    beside = file.with_suffix(".tmp")
    beside.write_text(content)
    beside.rename(file)


def test_a_file_that_is_replaced_before_it_rests_is_sent_as_it_was_when_that_has_rested(tmp_path, clock):
    watched, sent = mirror(tmp_path), []
    for second in range(8):
        for half in (0, 1):
            replace(tmp_path / "a", "x" * (2 * second + half))
        for file in watched.ready():
            if watched.is_held(file):
                sent.append(len(Path(file.path).read_text()))
                watched.note_sent(file)
        clock.now += 1.01
    assert sent == [3, 7, 11]
    (file,), _ = watched.rest()
    assert (watched.is_held(file), file.size) == (False, 15)


def test_a_file_that_is_written_to_all_the_time_waits_for_its_end(tmp_path, clock):
    watched = mirror(tmp_path)
    with (tmp_path / "a").open("w") as writer:
        for _ in range(8):
            writer.write("x")
            writer.flush()
            assert not [file for file in watched.ready() if not file.is_renamed]
            clock.now += 1.01


def test_a_name_that_says_itself_that_it_is_unfinished_waits(tmp_path, clock):
    watched = mirror(tmp_path)
    (tmp_path / "a.tmp").write_text("1")
    watched.ready()
    clock.now += 5
    assert not watched.ready()


def test_what_is_at_its_place_is_not_sent_again_until_it_changes(tmp_path, clock):
    watched = mirror(tmp_path)
    (tmp_path / "a").write_text("1")
    watched.ready()
    clock.now += 2
    (file,) = watched.ready()
    watched.note_sent(file)
    clock.now += 2
    assert not watched.ready()
    assert not watched.rest()[0]
    (tmp_path / "a").write_text("12")
    assert keys(watched.rest()[0]) == {"a"}


def test_a_file_that_grows_all_the_time_is_sent_again_and_again(tmp_path, clock):
    watched = mirror(tmp_path, OutputKind.TENSORBOARD)
    events = tmp_path / "events.out.tfevents"
    events.write_text("1")
    (file,) = watched.ready()
    watched.note_sent(file)
    events.write_text("12")
    assert not watched.ready()
    clock.now += mirrors.GROWING_SECONDS
    assert keys(watched.ready()) == {"events.out.tfevents"}


def test_what_is_in_doubt_is_not_sent_until_it_changes(tmp_path, clock):
    watched = mirror(tmp_path)
    (tmp_path / "whole").write_text("1")
    (tmp_path / "half").write_text("1")
    watched.doubt({file.version for file in look(tmp_path).files if file.key == "half"})
    assert keys(watched.rest()[0]) == {"whole"}
    (tmp_path / "half").write_text("12")
    assert keys(watched.rest()[0]) == {"whole", "half"}


def test_the_links_that_leave_a_directory_are_refused_by_name(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("1")
    (tmp_path / "in" / "good").symlink_to("file")
    (tmp_path / "in" / "bad").symlink_to("/etc/passwd")
    tree = look(tmp_path / "in")
    assert keys(tree.files) == {"file", "good"}
    assert tree.refused == ["bad is a link to /etc/passwd, outside of the directory"]


def test_a_directory_that_was_replaced_by_a_link_is_refused(tmp_path):
    (tmp_path / "in").symlink_to("/etc")
    tree = look(tmp_path / "in")
    assert not tree.files
    assert "replaced by a link" in tree.refused[0]
