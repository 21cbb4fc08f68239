"""What a run asks for: frozen models that are the flows' parameters and the forms of the workflow UI.

The form decides the shape: groups of a few fields, literal defaults instead of None, lists of `{name, value}` instead
of mappings. People who write Python or YAML may give mappings and leave the groups out:
`TrainingSpec(name="a", algorithm="s3://b/code", entry_point="train.py", hyperparameters={"lr": 0.1})`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from blocks.domain.environment import environment_name
from blocks.domain.flat_settings import GROUPS, Groups, drop_fields, group_fields, merge_fields
from blocks.domain.spec_groups import (
    DEFAULT_FLAVOR,
    DEFAULT_IMAGE,
    MAX_DATASETS,
    MAX_HYPERPARAMETERS,
    MAX_METRIC_EXPRESSIONS,
    MAX_WORKERS,
    AlgorithmSettings,
    AlgorithmSpec,
    InputSpec,
    InstanceSpec,
    LimitSpec,
    MetricSpec,
    OutputSpec,
    ProvidedAlgorithm,
)
from blocks.domain.spec_values import MAX_TAGS, NAME_PATTERN, NAME_RULE, DatasetSpec, NamedValue, Spec, Tags

__all__ = [
    "DEFAULT_FLAVOR",
    "DEFAULT_IMAGE",
    "GROUPS",
    "MAX_DATASETS",
    "MAX_HYPERPARAMETERS",
    "MAX_METRIC_EXPRESSIONS",
    "MAX_TAGS",
    "MAX_WORKERS",
    "NAME_PATTERN",
    "NAME_RULE",
    "AlgorithmSettings",
    "AlgorithmSpec",
    "DatasetSpec",
    "ExperimentSpec",
    "InputSpec",
    "InstanceSpec",
    "LimitSpec",
    "MetricSpec",
    "NamedValue",
    "OutputSpec",
    "ProvidedAlgorithm",
    "SettingsSpec",
    "Spec",
    "Tags",
    "TrainingSettings",
    "TrainingSpec",
    "drop_fields",
    "environment_name",
    "group_fields",
    "merge_fields",
]


class SettingsSpec(Spec):
    """Settings in groups, which may also be given without them."""

    groups: ClassVar[Groups] = GROUPS

    @model_validator(mode="before")
    @classmethod
    def _group(cls, value: Any) -> Any:
        return cls.grouped(value) if isinstance(value, Mapping) else value

    @classmethod
    def grouped(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings with every one in its group.

        Raises:
            ValueError: One is given twice, or a group is none.
        """
        return group_fields(values, cls.groups)

    @classmethod
    def known_names(cls) -> Iterable[str]:
        """Also those that stand beside the groups."""
        return [*cls.model_fields, *(flat for names in cls.groups.values() for flat in names)]

    def changed(self, *, unset: Iterable[str] = (), **overrides: Any) -> Self:
        """A copy with some settings replaced, by their flat or grouped names; a group is merged field by field.

        Hyperparameters, datasets and tags are replaced name by name, so that one can be changed and the rest kept.

        Args:
            unset: Settings that get their default again, by their flat names; `hyperparameters.lr` is one of many.
            overrides: The others' new values.

        Raises:
            InvalidInputError: There is nothing of this name to unset.
            pydantic.ValidationError: The result breaks a limit.
        """
        kept = drop_fields(self.model_dump(mode="json"), unset, self.groups)
        return type(self).model_validate(merge_fields(kept, self.grouped(overrides)))


class TrainingSettings(SettingsSpec):
    """What a training and a template of trainings have in common."""

    name: str
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Free text, at most 1,000 characters; can be changed later.",
        examples=["First try with two workers."],
    )
    experiment: str = Field(
        default="default",
        pattern=NAME_PATTERN,
        title="Experiment",
        description=f"The experiment that it belongs to, made on the way when it does not exist: {NAME_RULE}.",
        examples=["digits"],
    )
    algorithm: AlgorithmSettings
    instances: InstanceSpec = Field(default=InstanceSpec(), title="Instances", description="Where it runs.")
    inputs: InputSpec = Field(default=InputSpec(), title="Input data", description="What is staged before it starts.")
    outputs: OutputSpec = Field(default=OutputSpec(), title="Output data", description="Where results go.")
    metrics: MetricSpec = Field(default=MetricSpec(), title="Metrics", description="How metrics are read.")
    limits: LimitSpec = Field(default=LimitSpec(), title="Further settings", description="Limits and logs.")
    tags: Tags = ()


class TrainingSpec(TrainingSettings):
    """A training: run an algorithm on data, once or as many distributed workers."""

    name: str = Field(
        pattern=NAME_PATTERN,
        title="Name",
        description=f"Unique among trainings: {NAME_RULE}.",
        examples=["digits-1"],
    )
    algorithm: AlgorithmSpec = Field(title="Algorithm", description="What is run.")


class ExperimentSpec(Spec):
    """An experiment groups trainings and tunings that belong together."""

    name: str = Field(pattern=NAME_PATTERN, title="Name", description=f"Unique: {NAME_RULE}.", examples=["digits"])
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Free text, at most 1,000 characters; can be changed later.",
        examples=["Handwritten digits."],
    )
