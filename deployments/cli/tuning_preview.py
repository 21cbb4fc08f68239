"""`makerflow tuning preview`: what a tuning would take, and where it would begin."""

import math
import secrets
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.connections.platform import open_platform
from blocks.domain.tunings import Strategy, TuningSpec
from blocks.search.base import PastTrial
from blocks.search.open import open_search
from deployments.cli.fields import count_text, duration_text
from deployments.cli.output import write, write_fields, write_table
from deployments.cli.settings_options import Settings
from deployments.cli.tuning_documents import range_text

if TYPE_CHECKING:
    from blocks.domain.templates import TemplateUse
    from blocks.registry.records import LearnedTrial

SHOWN_POINTS = 5
RANDOM_POINTS = 10
"""TPE draws by chance until it knows of so many trials."""


@dataclass(frozen=True)
class Preview:
    """What a tuning would take.

    Attributes:
        spec: The tuning.
        random_state: That of its settings, or one that was drawn for this look.
        learned: How many trials of another tuning it learns from.
        points: The first ones.
        learning: What is told of those others.
    """

    spec: TuningSpec
    random_state: int
    learned: int
    points: tuple[dict[str, str], ...]
    learning: str = ""

    @property
    def waves(self) -> int:
        """How often as many trainings as run at once have to run."""
        return math.ceil(self.spec.max_trainings / self.spec.trainings.parallel_trainings)

    @property
    def instances(self) -> int:
        """How many workers run at once."""
        return self.spec.instances.workers * self.spec.trainings.parallel_trainings

    @property
    def most_minutes(self) -> float:
        """How long all waves take when each training takes as long as it may; no longer than the tuning may."""
        trainings = self.waves * self.spec.limits.max_minutes
        return min(trainings, self.spec.trainings.max_tuning_minutes or math.inf)

    @property
    def notes(self) -> list[str]:
        """What has to be known of the points."""
        found = []
        search = self.spec.search
        if search.strategy is not Strategy.GRID and search.random_state is None:
            found.append(
                f"No random state is given, so that these points are an example; --random-state {self.random_state} "
                "gives them."
            )
        if search.strategy is Strategy.BAYESIAN_OPTIMIZATION:
            drawn = max(RANDOM_POINTS - self.learned, 0)
            found.append(
                f"BAYESIAN_OPTIMIZATION draws the first {count_text(drawn, 'point')} by chance; later ones depend on "
                "what is found."
                if drawn
                else "BAYESIAN_OPTIMIZATION: points after the first depend on what is found."
            )
            if self.spec.trainings.parallel_trainings > 1:
                found.append(
                    "With trainings that overlap, the order in which they end decides as well: the same random state "
                    "gives the same points with --parallel 1 only."
                )
        if self.learning:
            found.append(self.learning)
        return found


def spec_of(
    tuning: str | None, file: Path | None, template: str | None, settings: Settings
) -> "tuple[TuningSpec, TemplateUse | None]":
    """The whole settings of a tuning that is there with what is given beside, or of one that is asked for.

    Raises:
        MakerflowError: They are refused.
        pydantic.ValidationError: The same.
    """
    from blocks.domain.tuning_overrides import TemplatedTuningSpec
    from deployments.cli.settings_file import settings_over_template
    from deployments.cli.tune import asked_for
    from deployments.cli.tuning_options import TUNING

    registry = open_platform().registry
    if tuning is not None:
        row = registry.tunings.get(tuning)
        return row.current_spec.changed(**settings_over_template(file, settings, TUNING)), None
    asked = asked_for(file, template, settings)
    if isinstance(asked, TemplatedTuningSpec):
        found = registry.templates.get(asked.template)
        return asked.over(found.spec), asked.use(found.id, found.name)
    return asked, None


def preview(asked: "tuple[TuningSpec, TemplateUse | None]") -> Preview:
    """What a tuning would take; nothing is made.

    Raises:
        InvalidInputError: A setting is refused, as it would be at its creation.
        NotFoundError: There is no such tuning to learn from.
    """
    from tasks.tuning import check_tuning_settings, learned_trials

    (spec, template), platform = asked, open_platform()
    check_tuning_settings(platform, spec, template)
    learned, told = learned_trials(platform, spec)
    given = spec.search.random_state
    random_state = secrets.randbelow(2**32) if given is None else given
    return Preview(spec, random_state, len(learned), _first_points(spec, random_state, learned), told)


def preview_document(found: Preview) -> dict[str, Any]:
    """For JSON."""
    spec = found.spec
    minutes = spec.trainings.max_tuning_minutes
    return {
        "name": spec.name,
        "strategy": spec.search.strategy.value,
        "random_state": found.random_state,
        "trials": spec.max_trainings,
        "parallel_trainings": spec.trainings.parallel_trainings,
        "waves": found.waves,
        "workers": spec.instances.workers,
        "instances": found.instances,
        "flavor": spec.instances.flavor,
        "max_training_hours": spec.limits.max_minutes / 60,
        "max_tuning_hours": None if minutes is None else minutes / 60,
        "worst_case_hours": found.most_minutes / 60,
        "points": [{"number": n, "hyperparameters": point} for n, point in enumerate(found.points, 1)],
        "learned": found.learned,
        "notes": found.notes,
    }


def write_preview(found: Preview) -> None:
    """For people."""
    spec = found.spec
    at_once, minutes = spec.trainings.parallel_trainings, spec.trainings.max_tuning_minutes
    each = duration_text(spec.limits.max_minutes * 60)
    ended = "" if minutes is None else f"; the tuning is ended after {duration_text(minutes * 60)}"
    write_fields(
        {
            "trials": f"{spec.max_trainings}, {at_once} at once: {count_text(found.waves, 'wave')}",
            "instances": f"{found.instances} of {spec.instances.flavor} "
            f"({count_text(spec.instances.workers, 'worker')} x {at_once} at once)",
            "at most": f"{duration_text(found.most_minutes * 60)}: {count_text(found.waves, 'wave')} of {each}{ended}",
            "strategy": spec.search.strategy.value,
            "objective": f"{spec.objective.type.value} {spec.objective.metric}",
            **{p.name: range_text(p) for p in spec.search.parameters},
        }
    )
    write(f"\nThe first {count_text(len(found.points), 'point')}")
    names = [parameter.name for parameter in spec.search.parameters]
    rows = [[str(n), *(point[name] for name in names)] for n, point in enumerate(found.points, 1)]
    write_table(("NUMBER", *names), rows, empty="")
    for note in found.notes:
        write(f"\n{note}")
    write("\nNothing was created, and each training first waits for room and for its data.")


def _first_points(spec: TuningSpec, random_state: int, learned: "list[LearnedTrial]") -> tuple[dict[str, str], ...]:
    search = open_search(spec, random_state)
    for trial in learned:
        search.tell(PastTrial(0, trial.parameters, trial.status, trial.objective))
    suggested = (search.suggest(number) for number in range(1, min(SHOWN_POINTS, spec.max_trainings) + 1))
    return tuple(point for point in takewhile(lambda one: one is not None, suggested) if point is not None)
