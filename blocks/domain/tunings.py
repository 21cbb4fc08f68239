"""A tuning: what is searched, for which objective, with how many trainings, and when it ends."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from blocks.domain.algorithms import HyperparameterType, ProvidedAlgorithmEntry
from blocks.domain.catalogues import Catalogue
from blocks.domain.errors import InvalidInputError
from blocks.domain.flat_settings import GROUPS, Groups, group_fields, minutes_of
from blocks.domain.parameters import RANGES, ParameterSpec, ParameterType, grid_size
from blocks.domain.paths import StoragePath
from blocks.domain.spec_groups import AlgorithmSpec, MetricSpec, OutputSpec, ProvidedAlgorithm, check_hyperparameters
from blocks.domain.spec_values import NAME_PATTERN, NAME_RULE, NamedValue
from blocks.domain.specs import SettingsSpec, TrainingSettings, TrainingSpec
from blocks.domain.tuning_groups import (
    DEFAULT_TRAININGS,
    MAX_PARALLEL,
    MAX_TRAININGS,
    EarlyStoppingSpec,
    MetricNames,
    ObjectiveSpec,
    ObjectiveType,
    ObjectiveValue,
    Sampler,
    SearchSpec,
    StoppingRule,
    Strategy,
    TrainingsSpec,
    TuningMetricSpec,
)

__all__ = [
    "DEFAULT_TRAININGS",
    "MAX_PARALLEL",
    "MAX_TRAININGS",
    "TUNING_GROUPS",
    "EarlyStoppingSpec",
    "MetricNames",
    "ObjectiveSpec",
    "ObjectiveType",
    "ObjectiveValue",
    "Sampler",
    "SearchSpec",
    "StoppingRule",
    "Strategy",
    "TrainingsSpec",
    "TuningMetricSpec",
    "TuningSettings",
    "TuningSpec",
    "group_tuning",
]

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
    outputs: OutputSpec = Field(
        default=OutputSpec(),
        title="Output data",
        description="Where results go: of each trial into a folder of its own, PATH/TUNING/TRIAL.",
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
