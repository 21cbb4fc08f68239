"""A tuning: what is searched, for which objective, with how many trainings, and when it ends."""

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from blocks.domain.algorithms import HyperparameterType, ProvidedAlgorithmEntry
from blocks.domain.catalogues import Catalogue
from blocks.domain.errors import InvalidInputError
from blocks.domain.flat_settings import GROUPS, Groups, group_fields, minutes_of
from blocks.domain.parameters import RANGES, Parameters, ParameterSpec, ParameterType, grid_size
from blocks.domain.paths import StoragePath
from blocks.domain.spec_groups import AlgorithmSpec, MetricSpec, ProvidedAlgorithm, check_hyperparameters
from blocks.domain.spec_values import NAME_PATTERN, NAME_RULE, NamedValue, Spec
from blocks.domain.specs import SettingsSpec, TrainingSettings, TrainingSpec

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

    parameters: Annotated[Parameters, Field(title="Parameters", description="Hyperparameters with ranges.")]
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
        description="Name of the metric, as the entry point prints it.",
        examples=["val_loss"],
    )
    type: ObjectiveType = Field(
        default=ObjectiveType.MINIMIZE, title="Objective type", description="Whether less or more is better."
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
        description="Whose outputs stay at the end: all, best N, or none; the best one's always do.",
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
        title="Early stopping",
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
        le=10**9,
        title="Start step",
        description="From which report of the objective on it applies, counted from 1.",
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


TUNING_GROUPS: Groups = {
    **GROUPS,
    "metrics": {**GROUPS["metrics"], "metric_names": "names"},
    "search": {name: name for name in ("parameters", "strategy", "sampler", "random_state", "warm_start")},
    "objective": {
        "objective_metric": "metric",
        "objective_type": "type",
        "goal": "goal",
        "objective_value": "value",
        "best_step_metric": "best_step_metric",
        "best_step_type": "best_step_type",
    },
    "trainings": {
        name: name
        for name in ("max_trainings", "max_failed_trainings", "parallel_trainings", "max_tuning_minutes", "keep")
    },
    "early_stopping": {name: name for name in ("min_trainings_required", "start_step")},
}
"""The flat names of a tuning's settings; `early_stopping` may also be its rule alone, or true or false."""


def group_tuning(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move a tuning's flat names into their groups; grouped ones stay as they are.

    `metrics` may be a list of names, `early_stopping` true, false or a rule, and `max_tuning_time_seconds` stands for
    `max_tuning_minutes`.

    Raises:
        ValueError: A setting is given twice, or a group is none.
    """
    given = dict(values)
    if isinstance(names := given.get("metrics"), str | list | tuple):
        if "metric_names" in given:
            raise ValueError("the metrics' names are given twice, as metrics and as metric_names")
        del given["metrics"]
        given["metric_names"] = [names] if isinstance(names, str) else names
    if isinstance(rule := given.get("early_stopping"), bool | str):
        given["early_stopping"] = {"rule": rule.upper() if isinstance(rule, str) else StoppingRule.of(rule)}
    if "max_tuning_time_seconds" in given:
        if "max_tuning_minutes" in given:
            raise ValueError("the maximum time is given twice, as max_tuning_time_seconds and max_tuning_minutes")
        given["max_tuning_minutes"] = minutes_of(given.pop("max_tuning_time_seconds"))
    return group_fields(given, TUNING_GROUPS)


class TuningSettings(SettingsSpec):
    """What only a tuning has, whether it is made from a template or not."""

    groups: ClassVar[Groups] = TUNING_GROUPS

    name: str = Field(
        pattern=NAME_PATTERN,
        title="Name",
        description=f"Unique among tunings: {NAME_RULE}.",
        examples=["digits-tuning"],
    )
    search: SearchSpec = Field(title="Search", description="What is searched, and how.")
    objective: ObjectiveSpec = Field(title="Objective", description="What is to become best.")
    trainings: TrainingsSpec = Field(
        default=TrainingsSpec(), title="Trainings", description="How many, how many at once, and when it ends."
    )
    early_stopping: EarlyStoppingSpec = Field(
        default=EarlyStoppingSpec(), title="Early stopping", description="Ends trials that do worse than others."
    )

    @classmethod
    def grouped(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """As promised."""
        return group_tuning(values)


class TuningSpec(TuningSettings, TrainingSettings):
    """A tuning: run an algorithm with many values of its hyperparameters, and find the best."""

    algorithm: AlgorithmSpec = Field(
        title="Algorithm", description="What is run. Its hyperparameters have the same value in every training."
    )
    metrics: TuningMetricSpec = Field(
        default=TuningMetricSpec(), title="Metrics", description="Which metrics are read, and how."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        fixed = {pair.name for pair in self.algorithm.hyperparameters}
        if both := [parameter.name for parameter in self.search.parameters if parameter.name in fixed]:
            raise ValueError(f"{both[0]!r} is both a hyperparameter with one value and a parameter with a range")
        longest = {parameter.name: parameter.longest() for parameter in self.search.parameters}
        check_hyperparameters(self._hyperparameters(longest))
        names, metrics = self.metrics.names, (self.objective.metric, self.objective.best_step_metric)
        if names and (unknown := [metric for metric in metrics if metric and metric not in names]):
            raise ValueError(f"the objective {unknown[0]!r} is not among the metrics: {', '.join(names)}")
        self._check_counts()
        self._outputs(self.max_trainings)  # a path that is too long is refused now, not at the first trial
        return self

    @property
    def max_trainings(self) -> int:
        """How many trainings run, when nothing ends the tuning before."""
        if self.trainings.max_trainings is not None:
            return min(self.trainings.max_trainings, self.grid_points or MAX_TRAININGS)
        return self.grid_points or DEFAULT_TRAININGS

    @property
    def grid_points(self) -> int:
        """How many points the grid has; 0 for a search that is none."""
        return grid_size(self.search.parameters) if self.search.strategy is Strategy.GRID else 0

    def training_spec(self, point: Mapping[str, str], number: int) -> TrainingSpec:
        """The settings of one trial.

        Args:
            point: The values of the parameters.
            number: Of the trial, from 1.
        """
        hyperparameters = self._hyperparameters(point)
        outputs = self._outputs(number)
        return TrainingSpec(
            name=self.name,
            experiment=self.experiment,
            algorithm=self.algorithm.model_copy(update={"hyperparameters": hyperparameters}),
            instances=self.instances,
            inputs=self.inputs,
            outputs=self.outputs.model_copy(update=outputs),
            metrics=MetricSpec(expressions=self.metrics.expressions, all_workers=self.metrics.all_workers),
            limits=self.limits,
        )

    def _hyperparameters(self, point: Mapping[str, str]) -> tuple[NamedValue, ...]:
        pairs = (NamedValue(name=name, value=value) for name, value in point.items())
        return (*self.algorithm.hyperparameters, *pairs)

    def _outputs(self, number: int) -> dict[str, str]:
        """Where the trial of this number leaves what the tuning has a path for."""
        return {
            name: str(StoragePath.parse(path) / f"{self.name}/{number}") if path else ""
            for name, path in self.outputs.model_dump().items()
        }

    def first_point(self) -> dict[str, str]:
        """Any point of the space, as an example of all."""
        return {p.name: p.text(p.low) if p.type in RANGES else p.values[0] for p in self.search.parameters}

    def check(self, catalogue: Catalogue) -> None:
        """Refuse ranges and metrics that a provided algorithm has not.

        Raises:
            InvalidInputError: What is wrong, and what is allowed.
        """
        if self.algorithm.provided is ProvidedAlgorithm.OWN:
            return
        algorithm = catalogue.algorithm(self.algorithm.provided)
        for parameter in self.search.parameters:
            for value in parameter.values or (parameter.text(parameter.low), parameter.text(parameter.high)):
                algorithm.check_given({parameter.name: value})
            _check_whole(parameter, algorithm)
        known = [metric.name for metric in algorithm.metrics]
        asked = (self.objective.metric, self.objective.best_step_metric, *self.metrics.names)
        if unknown := [name for name in asked if name and name not in known]:
            why = f"the provided algorithm {algorithm.name} has no such metric"
            raise InvalidInputError(f"The metric {unknown[0]!r}", why, f"It has: {', '.join(known)}.")

    def _check_counts(self) -> None:
        wanted, points = self.trainings.max_trainings, self.grid_points
        if points > MAX_TRAININGS:
            asked = "" if wanted is None else f" (max_trainings is {wanted:,})"
            raise ValueError(
                f"the grid has {_counted(points)} points, and at most {MAX_TRAININGS:,} trainings are allowed{asked}: "
                "use larger steps, or RANDOM"
            )
        if points and wanted is not None and points > wanted:
            raise ValueError(
                f"the grid has {points:,} points, and max_trainings is {wanted:,}: raise it to {points:,}, use larger "
                "steps, or RANDOM"
            )
        most = self.max_trainings
        if self.trainings.parallel_trainings > most:
            raise ValueError(f"parallel_trainings {self.trainings.parallel_trainings} is above max_trainings {most}")
        failed = self.trainings.max_failed_trainings
        if failed is not None and failed > most:
            raise ValueError(f"max_failed_trainings {failed} is above max_trainings {most}: leave it out for no limit")


def _counted(points: int) -> str:
    """A number of points for people, who read no number of a hundred digits."""
    return f"{points:,}" if points < 10**15 else f"about 10^{len(str(points)) - 1}"


def _check_whole(parameter: ParameterSpec, algorithm: ProvidedAlgorithmEntry) -> None:
    """The ends of a range may be whole where what lies between is not."""
    kind = next(known.type for known in algorithm.hyperparameters if known.name == parameter.name)
    if kind is HyperparameterType.INT and parameter.type is ParameterType.DOUBLE:
        why = f"its hyperparameter of the provided algorithm {algorithm.name} takes whole numbers"
        raise InvalidInputError(f"The parameter {parameter.name!r} is a DOUBLE", why, "Make it an INT.")
