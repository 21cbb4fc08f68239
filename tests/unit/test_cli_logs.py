"""`makerflow training logs` and what a display shows of a training: its output, on the cluster and then uploaded."""

import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.cluster.base import OutputRead
from blocks.cluster.kubernetes.frames import cursor_of, place_of
from blocks.cluster.uploaded_log import BEGINS
from blocks.connections import platform as connections
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.plan import ExitCause, Finished, LogLine, OutputKind, PlannedOutput, RunHandle
from blocks.storage import cache
from deployments.cli import observing
from deployments.cli.observing import TrainingObserver
from deployments.cli.progress import PlainDisplay
from deployments.cli.training_logs import _Cursor, read_log, read_output

NOTE = "[makerflow: the end of the output of attempt 1 may be missing here]"


def line(text: str, cursor: int, *, is_note: bool = False) -> LogLine:
    return LogLine(rank=0, text=text, cursor=cursor, is_note=is_note)


class Run:
    """A run of two attempts on a cluster whose cursors are those of Kubernetes, until it is removed.

    Attributes:
        lines: What the cluster tells before it knows nothing of it.
        is_kept: Whether it is not removed behind that.
    """

    def __init__(self, lines: list[LogLine]) -> None:
        self.lines, self.is_kept = lines, False

    position_of = staticmethod(place_of)

    def logs(self, handle: RunHandle, rank: int, *, follow: bool, since: int) -> Iterator[LogLine]:
        yield from [each for each in self.lines if each.cursor > since or each is END]
        self._be_removed()

    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        for each in self.lines:
            attempt, position = place_of(each.cursor)
            cursor = cursor_of(attempt + 1, 0) if each.is_note and position else each.cursor
            if cursor > since:
                return OutputRead(f"{each.text}\n".encode(), cursor, since if each.is_note else None)
        self._be_removed()
        return OutputRead(b"", since)

    def watch(self, *_: Any, **__: Any) -> Iterator[Finished | None]:
        yield Finished(run_id="r", sequence=1, at=datetime(2030, 1, 1, tzinfo=UTC), cause=ExitCause.OK)
        while True:
            yield None

    def _be_removed(self) -> None:
        if not self.is_kept:
            raise NotFoundError("run", "r")


FIRST = [line("a", 2), line("b", 4)]
SECOND = [line("a", cursor_of(2, 2)), line("c", cursor_of(2, 4))]
END = line(NOTE.replace("1", "2"), cursor_of(2, 4), is_note=True)
TOLD = [each.text for each in (*FIRST, *SECOND)]
UPLOADED = b"a\nb\n" + BEGINS % 2 + b"a\nc\nd\n"


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a training whose log was uploaded, from what the cluster tells of it."""

    def make(run: Run, uploaded: bytes) -> Any:
        (tmp_path / "output.log").write_bytes(uploaded)
        outputs = [PlannedOutput(kind=OutputKind.LOG, path=f"file://{tmp_path}")]
        row = SimpleNamespace(
            id="r", name="t", handle=RunHandle(cluster="", run_id="r"), status=TrainingStatus.COMPLETE, reason="",
            logs_uploaded=True, tuning_id=None, log_cursors={}, plan=SimpleNamespace(outputs=outputs),
            spec=SimpleNamespace(instances=SimpleNamespace(workers=1)),
        )  # fmt: skip
        fetched = [SimpleNamespace(file=tmp_path / "output.log")]
        platform = SimpleNamespace(
            cluster=run,
            registry=SimpleNamespace(
                trainings=SimpleNamespace(get=lambda _: row), metrics=SimpleNamespace(names=lambda _: [])
            ),
            storage=lambda _: SimpleNamespace(plan=lambda _: [], fetch=lambda *_: fetched),
            settings=SimpleNamespace(home=tmp_path, cache_gb=1),
        )
        monkeypatch.setattr(connections, "open_platform", lambda: platform)
        monkeypatch.setattr(observing, "open_platform", lambda: platform)
        monkeypatch.setattr(cache.Cache, "lease", lambda _: nullcontext())
        return row

    return make


def shown_of(row: Any) -> list[str]:
    """What a display shows of the output."""
    stream = io.StringIO()
    with TrainingObserver(lambda: row, PlainDisplay(stream, with_output=True)):
        pass
    return [text for text in stream.getvalue().splitlines() if not text.startswith(("[makerflow] ", "[t] "))]


READERS: dict[str, Callable[[Any], list[str]]] = {
    "logs": lambda row: list(read_log(row, 0, follow=False, tail=None)),
    "logs -f": lambda row: list(read_log(row, 0, follow=True, tail=None)),
    "metrics test": lambda row: b"".join(read_output(row, 0)).decode().splitlines(),
    "display": shown_of,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_when_a_restarted_run_is_removed_the_uploaded_log_goes_on_behind_what_was_shown(
    training: Callable[..., Any], reader: Callable[[Any], list[str]]
) -> None:
    assert reader(training(Run([*FIRST, *SECOND]), UPLOADED)) == [*TOLD, "d"]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_behind_an_attempt_whose_end_the_cluster_lacks_the_uploaded_log_goes_on_with_the_next_one(
    training: Callable[..., Any], reader: Callable[[Any], list[str]]
) -> None:
    run = Run([FIRST[0], line(NOTE, cursor_of(2, 0), is_note=True), *SECOND[:1]])
    row, is_lines = training(run, UPLOADED), reader in (READERS["logs"], READERS["logs -f"])
    assert reader(row) == ["a", *([] if is_lines else ["b"]), NOTE, "a", "c", "d"]


@pytest.mark.parametrize(
    ("reader", "end"), [(READERS["logs -f"], [END.text, "d"]), (shown_of, ["d", END.text])], ids=["logs -f", "display"]
)
def test_what_the_cluster_lacks_of_the_end_comes_from_the_uploaded_log(
    training: Callable[..., Any], reader: Callable[[Any], list[str]], end: list[str]
) -> None:
    run = Run([*FIRST, *SECOND, END])
    run.is_kept = True
    assert reader(training(run, UPLOADED)) == [*TOLD, *end]


@pytest.mark.parametrize("reader", [READERS["logs -f"], shown_of], ids=["logs -f", "display"])
def test_of_what_the_cluster_tells_to_its_end_nothing_is_shown_again(
    training: Callable[..., Any], reader: Callable[[Any], list[str]]
) -> None:
    run = Run([FIRST[0], line(NOTE, cursor_of(2, 0), is_note=True), SECOND[0]])
    run.is_kept = True
    assert reader(training(run, b"a\n" + BEGINS % 2 + b"a\n")) == ["a", NOTE, "a"]


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_that_the_end_is_missing_is_said_once_however_often_it_is_come_to(cut: int) -> None:
    there, new = FIRST[:cut], FIRST[cut:]
    cursor = _Cursor()
    shown = list(cursor.pass_over(iter([*there, line(NOTE, there[-1].cursor if there else 0, is_note=True)])))
    shown += cursor.pass_over(iter([*new, line(NOTE, 4, is_note=True)]))
    assert shown == [*(each.text for each in there), NOTE, *(each.text for each in new)]
    assert cursor.offset == 4


def test_each_attempt_has_its_own_note_and_every_line_of_output_is_shown() -> None:
    cursor, later = _Cursor(), NOTE.replace("1", "2")
    lines = [line("a", 2), line("a", 2), line(NOTE, 2, is_note=True)]
    shown = list(cursor.pass_over(iter(lines)))
    lines = [line(NOTE, 100, is_note=True), line("a", 102), line(later, 102, is_note=True)]
    shown += cursor.pass_over(iter(lines))
    assert shown == ["a", "a", NOTE, "a", later]
