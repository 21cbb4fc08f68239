"""Tunings of tiny entry points, for tests of their flows."""

from pathlib import Path
from typing import Any

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrialStatus
from blocks.domain.tunings import TuningSpec
from blocks.registry.records import Trial, Tuning
from flows.tuning import create_tuning

SPHERE = """
import os
x, y = float(os.environ["EM_HP_X"]), float(os.environ["EM_HP_Y"])
print(f"loss={(x - 1) ** 2 + (y + 2) ** 2}")
with open(os.path.join(os.environ["EM_MODEL_DIR"], "model.txt"), "w") as file:
    file.write(f"{x} {y}")
"""
SPACE = ("x=DOUBLE[-5,5]", "y=DOUBLE[-5,5]")


class MakeTuning:
    """Settings of a tuning whose entry point is the given source."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.settings: dict[str, Any] = {}
        """What is other for all of a file's tunings."""

    def __call__(self, source: str = SPHERE, name: str = "t", **settings: Any) -> TuningSpec:
        code = self._directory / f"code-{name}"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(source)
        given: dict[str, Any] = {
            "name": name,
            "algorithm": f"file://{code}",
            "entry_point": "train.py",
            "output": f"file://{self._directory}/out",
            "parameters": SPACE,
            "objective_metric": "loss",
            "strategy": "RANDOM",
            "random_state": 7,
        }
        return TuningSpec.model_validate(given | self.settings | settings)


def tuned(spec: TuningSpec) -> Tuning:
    """The tuning, run to its end."""
    found = create_tuning(spec)
    assert isinstance(found, Tuning)
    return found


def trials_of(tuning: Tuning) -> list[Trial]:
    """Its trials, by number."""
    return open_platform().registry.tunings.trials(tuning.id)


def statuses_of(tuning: Tuning) -> list[TrialStatus]:
    """What its trials are, by number."""
    return [trial.status for trial in trials_of(tuning)]
