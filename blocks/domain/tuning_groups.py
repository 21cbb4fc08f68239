"""The groups of a tuning's settings beside those of a training: what each holds, with its limits."""

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from blocks.domain.parameters import Parameters
from blocks.domain.spec_groups import MetricSpec
from blocks.domain.spec_values import Spec

MAX_JUDGED_REPORTS = 10_000
"""Of one trial: early stopping looks no further, so that trials that report each batch cannot fill the memory."""

MAX_TRAININGS = 100_000
MAX_PARALLEL = 64
DEFAULT_TRAININGS = 10
"""Of a search that is no grid and whose settings do not say how many."""


class Strategy(StrEnum):
    """How the next point is chosen."""

    BAYESIAN_OPTIMIZATION = "BAYESIAN_OPTIMIZATION"
    RANDOM = "RANDOM"
    GRID = "GRID"


class Sampler(StrEnum):
    """Which method BAYESIAN_OPTIMIZATION uses."""

    TPE = "TPE"
    INDEPENDENT_TPE = "INDEPENDENT_TPE"


class ObjectiveType(StrEnum):
    """Whether less or more is better."""

    MINIMIZE = "MINIMIZE"
    MAXIMIZE = "MAXIMIZE"

    def is_better(self, one: float, other: float) -> bool:
        """Whether `one` is strictly better than `other`."""
        return one < other if self is ObjectiveType.MINIMIZE else one > other

    def reaches(self, value: float, goal: float) -> bool:
        """Whether `value` is as good as the goal; one that is not finite never is."""
        return math.isfinite(value) and (value == goal or self.is_better(value, goal))


class ObjectiveValue(StrEnum):
    """Which of a trial's reports is its objective."""

    BEST = "BEST"
    LAST = "LAST"
    BEST_STEP = "BEST_STEP"


class StoppingRule(StrEnum):
    """What ends a trial early."""

    NONE = "NONE"
    MEDIAN = "MEDIAN"

    @classmethod
    def of(cls, wanted: bool) -> "StoppingRule":
        """The one rule that there is, or none."""
        return cls.MEDIAN if wanted else cls.NONE


class SearchSpec(Spec):
    """What is searched, and how."""

    parameters: Annotated[
        Parameters,
        Field(
            title="Parameters",
            description="The hyperparameters that are searched, one an item, each with its range or its values; given "
            "to the entry point as --{name} {value} and as EM_HP_{NAME}.",
        ),
    ]
    strategy: Strategy = Field(
        default=Strategy.BAYESIAN_OPTIMIZATION,
        title="Search strategy",
        description="BAYESIAN_OPTIMIZATION learns from earlier trials, RANDOM does not, GRID runs every combination.",
    )
    sampler: Sampler = Field(
        default=Sampler.TPE,
        title="Sampling method",
        description="Of BAYESIAN_OPTIMIZATION. TPE takes the parameters together, INDEPENDENT_TPE each by itself.",
    )
    random_state: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        title="Random state",
        description="0 to 4,294,967,295; the same one gives the same points. With trials that overlap, the order in "
        "which they end decides as well. Empty: one is drawn, and shown.",
        examples=[42],
    )
    warm_start: str = Field(
        default="",
        max_length=128,
        title="Warm start",
        description="Name or id of a tuning of the same objective whose finished trials are learned from.",
        examples=["digits-coarse"],
    )


MetricName = Annotated[str, StringConstraints(strip_whitespace=True)]
"""Of what is read, no name begins or ends with a blank."""


class ObjectiveSpec(Spec):
    """What is to become best."""

    metric: MetricName = Field(
        min_length=1,
        max_length=256,
        title="Objective metric",
        description="Name of the metric, as the entry point prints it: loss for lines such as loss=0.25.",
        examples=["val_loss"],
    )
    type: ObjectiveType = Field(
        default=ObjectiveType.MINIMIZE,
        title="Objective type",
        description="MINIMIZE: less is better, as of a loss. MAXIMIZE: more is, as of an accuracy.",
    )
    goal: float | None = Field(
        default=None,
        allow_inf_nan=False,
        title="Goal",
        description="A value that is good enough: reaching it ends the tuning. Empty for none.",
        examples=[0.01],
    )
    value: ObjectiveValue = Field(
        default=ObjectiveValue.BEST,
        title="Objective value",
        description="BEST: the best report of a trial. LAST: its last one. BEST_STEP: that of the step at which "
        "another metric was best.",
    )
    best_step_metric: MetricName = Field(
        default="",
        max_length=256,
        title="Metric of the best step",
        description="BEST_STEP: the metric that chooses the step.",
        examples=["val_loss"],
    )
    best_step_type: ObjectiveType = Field(
        default=ObjectiveType.MINIMIZE, title="Type of that metric", description="BEST_STEP: what is best of it."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.value is ObjectiveValue.BEST_STEP) != bool(self.best_step_metric):
            raise ValueError("objective_value BEST_STEP and best_step_metric belong together: give both, or neither")
        return self

    @property
    def summary(self) -> str:
        """What is sought, in one line: `MINIMIZE loss (BEST)`."""
        chosen_by = f", at the best step of {self.best_step_metric}" if self.best_step_metric else ""
        return f"{self.type} {self.metric} ({self.value}{chosen_by})"


class TrainingsSpec(Spec):
    """How many trainings, how many at once, and when it ends."""

    max_trainings: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TRAININGS,
        title="Maximum trainings",
        description=f"1 to {MAX_TRAININGS:,}; when so many have run, the tuning ends. Empty: all points of a GRID, "
        f"else {DEFAULT_TRAININGS}.",
        examples=[30],
    )
    max_failed_trainings: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TRAININGS,
        title="Maximum failed trainings",
        description="When so many have failed, the tuning fails. Empty: no limit.",
        examples=[3],
    )
    parallel_trainings: int = Field(
        default=1,
        ge=1,
        le=MAX_PARALLEL,
        title="Parallel trainings",
        description=f"How many run at once, 1 to {MAX_PARALLEL}, each with all of its workers.",
        examples=[2],
    )
    max_tuning_minutes: float | None = Field(
        default=None,
        gt=0,
        le=60 * 24 * 365,
        allow_inf_nan=False,
        title="Maximum tuning time (minutes)",
        description="Past this many minutes after its first start the tuning is ended, its running trainings with it; "
        "above 0, at most a year (525,600). Empty: no limit. That of each training is among the further settings.",
        examples=[480],
    )
    keep: str = Field(
        default="all",
        title="Keep",
        description="Whose outputs stay at the end: all, best N, or none; the best one's and the best model always do.",
        examples=["best 3"],
    )

    @field_validator("max_failed_trainings", mode="before")
    @classmethod
    def _some_failures(cls, value: object) -> object:
        if value == 0 and not isinstance(value, bool):
            raise ValueError(
                "0 would end the tuning before it began; leave it out for no limit, 1 for the first failure"
            )
        return value

    @field_validator("keep", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        text = f"best {value}" if isinstance(value, int) and not isinstance(value, bool) else value
        words = text.strip().lower() if isinstance(text, str) else ""
        if words in ("all", "none"):
            return words
        if best := re.fullmatch(r"best(?:[\s:=_]+|-)([1-9][0-9]{0,5})", words, re.ASCII):
            return f"best {best[1]}"
        raise ValueError(f"keep {value!r}: it is all, none, or best N, such as best 3")

    @property
    def kept(self) -> int | None:
        """How many trials' outputs stay; None for all."""
        return None if self.keep == "all" else int(self.keep.removeprefix("best ")) if self.keep != "none" else 1


class EarlyStoppingSpec(Spec):
    """Whether trials that do worse than others are ended early."""

    rule: StoppingRule = Field(
        default=StoppingRule.NONE,
        title="Stopping rule",
        description="MEDIAN ends a trial whose best report so far is worse than the median of what the finished trials "
        "had on average by then.",
    )
    min_trainings_required: int = Field(
        default=3,
        ge=1,
        le=MAX_TRAININGS,
        title="Minimum trainings required",
        description="How many trainings have to be finished before it applies.",
    )
    start_step: int = Field(
        default=4,
        ge=1,
        le=MAX_JUDGED_REPORTS,
        title="Start step",
        description="From which report of the objective on it applies, counted from 1; it ends none after 10,000.",
    )

    @model_validator(mode="before")
    @classmethod
    def _on(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {"rule": StoppingRule.of(value)}
        if isinstance(value, str):
            return {"rule": value.upper()}
        return {"rule": StoppingRule.MEDIAN} | dict(value) if isinstance(value, Mapping) and value else value


class MetricNames(Spec):
    """Which metrics are kept."""

    names: tuple[MetricName, ...] = Field(
        default=(),
        max_length=100,
        title="Metric names",
        description="Those that are kept, the objective among them; empty for all that are printed.",
        examples=[["val_loss", "val_accuracy"]],
    )


class TuningMetricSpec(MetricNames, MetricSpec):
    """Which metrics are read from the output of the entry point, and how."""
