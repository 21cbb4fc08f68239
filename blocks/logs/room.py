"""How much room a day of the log store has, and for whom.

Neither is who prints without end to fill the disk on which everything else is, nor to take the store from all others.
What the platform says is little, and tells why a training failed: it is kept also where there is no room for more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.domain.errors import LogStoreFullError
from blocks.domain.log_records import LogSource

DAY_SHARE = 4
"""The part of the bound that one day may take: days before it and the one behind it have room beside it."""

OWNER_SHARE = 4
"""The part of a day that one training may take, or one tuning with all of its trials."""

REMEDY = (
    "Until the day ends (UTC), what they print is in the logs at their outputs only. Have them print less, or raise "
    f"MAKERFLOW_LOG_STORE_GB: a day takes 1/{DAY_SHARE} of it at most, one training or tuning 1/{OWNER_SHARE} of that."
)
_NAMED = 3


@dataclass(frozen=True)
class Owner:
    """A training or a tuning whose lines a day holds.

    Attributes:
        id: As `LogSource.owner` has it.
        name: What people call it.
        bytes: What its lines take, estimated by their part of all text of the day.
    """

    id: str
    name: str
    bytes: float


@dataclass(frozen=True)
class Room:
    """How much of a day is taken.

    Attributes:
        day: As in 2026-11-23.
        bound: Bytes that it may take.
        taken: Bytes that it takes.
        owners: By whom, the largest first; may be left out while nobody can have taken all of theirs.
    """

    day: str
    bound: int
    taken: int
    owners: Sequence[Owner] = ()

    @property
    def is_used_up(self) -> bool:
        """Whether nobody's lines are taken any more."""
        return self.taken >= self.bound

    @property
    def refused(self) -> tuple[Owner, ...]:
        """Whose lines are not taken any more, though those of others are."""
        return tuple(owner for owner in self.owners if owner.bytes * OWNER_SHARE >= self.bound)

    @property
    def shortage(self) -> str:
        """What there is no room for, and who has taken it; empty where there is."""
        if self.is_used_up:
            most = f", most of it by {_names(self.owners)}" if self.owners else ""
            return f"the day's room, {_gigabytes(self.bound)}, is used up{most}: no training's lines are kept"
        if self.refused:
            part = _gigabytes(self.bound / OWNER_SHARE)
            whose = _names(self.refused)
            return f"a training's part of the day, {part}, is used up by {whose}: their later lines are not kept"
        return ""

    def check(self, source: LogSource) -> None:
        """Whether lines of that source are still taken.

        Raises:
            LogStoreFullError: They are not.
        """
        if self.is_used_up or source.owner in {owner.id for owner in self.refused}:
            raise LogStoreFullError(self.day, self.shortage, REMEDY)


def _names(owners: Sequence[Owner]) -> str:
    more = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
    return ", ".join(owner.name for owner in owners[:_NAMED]) + more


def _gigabytes(size: float) -> str:
    return f"{size / 10**9:g} GB"
