"""A run is held to the data storage that it asked for."""

from pathlib import Path
from threading import Event

import pytest

from blocks.cluster.layout import RunLayout
from blocks.domain.plan import InputKind, PlannedInput, PlannedObject
from blocks.launcher import usage
from blocks.launcher.directories import CHECKPOINTS, SOURCE
from blocks.launcher.usage import DataStorage
from tests.unit.kubernetes.plans import make_plan

pytestmark = pytest.mark.req("TRN-09")

SOURCE_BYTES = 1 << 20
PLAN = make_plan(
    workers=4,
    storage_mib=2,
    inputs=(
        PlannedInput(
            kind=InputKind.SOURCE,
            path="file:///code",
            objects=(PlannedObject(key="main.py", path="file:///code/main.py", size=SOURCE_BYTES, etag=""),),
        ),
    ),
)


class OneLook(Event):
    """It comes after one look."""

    def wait(self, timeout: float | None = None) -> bool:
        came = self.is_set()
        self.set()
        return came


def written(layout: RunLayout, rank: int, checkpoint_bytes: int) -> None:
    for name, size in ((SOURCE, SOURCE_BYTES), (CHECKPOINTS, checkpoint_bytes)):
        place = layout.worker(rank) / name
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(size))


@pytest.mark.parametrize("ranks", [[2], [0, 1, 2, 3]], ids=["a pod has one worker", "a machine has all"])
@pytest.mark.parametrize("is_too_much", [False, True])
def test_only_copies_of_the_source_that_are_there_come_on_top_of_the_limit(
    tmp_path: Path, ranks: list[int], is_too_much: bool
) -> None:
    layout = RunLayout(tmp_path, "run")
    each = (PLAN.storage_mib << 20) // len(ranks)
    for rank in ranks:
        written(layout, rank, each + (1 << 16 if is_too_much else -(1 << 16)))
    said = DataStorage(layout, PLAN).watch(OneLook())
    assert said == (f"The data storage of 0.0021 GB is full. {usage.REMEDY}" if is_too_much else "")


def test_a_copy_of_the_source_that_is_removed_makes_room_for_no_other_worker(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path, "run")
    for rank in range(4):
        written(layout, rank, (3 << 20) + (1 << 16) if rank == 0 else 0)
        (layout.worker(rank) / SOURCE / "file").unlink()
    assert "is full" in DataStorage(layout, PLAN).watch(OneLook())
