"""What upkeep finds and does, and its report."""

from collections import Counter
from enum import StrEnum

from blocks.domain.plan import Frozen


class Kind(StrEnum):
    """What something was found of."""

    TRAINING = "training"
    TUNING = "tuning"
    EXPERIMENT = "experiment"
    RUN = "run"
    FLOW_RUN = "flow run"
    SCRATCH = "scratch"


class Finding(Frozen):
    """One thing that was not as it should be.

    Attributes:
        id: Of the resource, run or flow run; of scratch its path.
        found: What was found.
        done: What was done about it; what would be done, when nothing was to be changed.
        failed: Whether doing it failed; `done` then says why. It is tried again the next time.
    """

    kind: Kind
    id: str
    name: str = ""
    found: str
    done: str
    failed: bool = False

    @property
    def row(self) -> tuple[str, str, str, str]:
        """As a table shows it: of what it was found, of which, what was found, and what was done."""
        done = f"FAILED: {self.done}" if self.failed else self.done
        return self.kind.value, self.name or self.id, self.found, done


class UpkeepReport(Frozen):
    """What one upkeep found and did.

    Attributes:
        dry_run: Nothing was changed.
        busy: Another upkeep was under way, so that this one looked at nothing.
    """

    dry_run: bool = False
    busy: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind.value: found[kind] for kind in Kind}

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What could not be mended."""
        return tuple(finding for finding in self.findings if finding.failed)
