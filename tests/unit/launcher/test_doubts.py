from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.cluster.layout import RunLayout, write_json
from blocks.domain.plan import ExitCause, ExitRecord
from blocks.launcher.doubts import Death, half_written, known_doubts, note_doubts
from blocks.launcher.tree import FoundFile, look

SECOND = 10**9


def found(key: str, *, modified: float, changed: float | None = None) -> FoundFile:
    changed = modified if changed is None else changed
    return FoundFile(key, f"/c/{key}", 1, int(modified * SECOND), int(changed * SECOND), hash(key))


def in_doubt(*files: FoundFile, open_files: set[str] | None = None) -> set[str]:
    return {file.key for file in half_written(files, Death(100, open_files))}


def test_of_a_killed_worker_the_newest_file_may_be_half_written():
    assert in_doubt(found("1", modified=99.2), found("2", modified=99.5)) == {"2"}


def test_what_was_written_at_the_moment_of_death_may_be_half_written():
    assert in_doubt(found("1", modified=99.95), found("2", modified=99.99)) == {"1", "2"}


def test_what_was_renamed_into_place_or_left_alone_is_complete():
    assert not in_doubt(found("1", modified=99.2), found("2", modified=99.5, changed=99.6))
    assert not in_doubt(found("1", modified=90))


def test_who_could_look_knows_it_exactly():
    assert in_doubt(found("1", modified=99.99), found("2", modified=10), open_files={"2"}) == {"2"}


def test_a_name_that_says_it_is_unfinished_is_believed():
    assert in_doubt(found("1.tmp", modified=10)) == {"1.tmp"}


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path, "run-1")
    (layout.worker(0) / "checkpoints").mkdir(parents=True)
    return layout


def end(layout: RunLayout, attempt: int, *, code: int | None = None) -> None:
    record = ExitRecord(attempt=attempt, rank=0, began=None, ended=datetime.now(UTC), code=code, cause=ExitCause.LOST)
    write_json(layout.exit_record(0, attempt), record.model_dump(mode="json"))


def test_a_doubt_lasts_over_attempts_until_the_file_changes(layout):
    checkpoint = layout.worker(0) / "checkpoints" / "step-1"
    checkpoint.write_text("half")
    end(layout, 1)
    note_doubts(layout, range(1), 1)
    (half,) = look(checkpoint.parent).files
    assert known_doubts(layout, 0) == {half.version}
    end(layout, 2, code=1)
    note_doubts(layout, range(1), 2)
    assert known_doubts(layout, 0) == {half.version}
    checkpoint.write_text("whole")
    end(layout, 3, code=1)
    note_doubts(layout, range(1), 3)
    assert known_doubts(layout, 0) == set()


def test_a_worker_that_ended_by_itself_has_finished_its_files(layout):
    (layout.worker(0) / "checkpoints" / "step-1").write_text("whole")
    end(layout, 1, code=3)
    note_doubts(layout, range(1), 1)
    assert known_doubts(layout, 0) == set()


@pytest.mark.parametrize("text", ['{"versions": 5}', '{"versions": [1]}', "{}", "[]", "{", "[" * 100_000])
def test_what_an_entry_point_has_put_in_the_place_of_doubts_is_none(layout, text):
    (layout.worker(0) / "doubts.json").write_text(text)
    assert known_doubts(layout, 0) == set()
