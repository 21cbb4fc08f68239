"""A tuning made from a template: the template's settings with overrides, and what only a tuning has."""

from typing import Any, ClassVar

from pydantic import Field

from blocks.domain.flat_settings import drop_fields, merge_fields
from blocks.domain.template_overrides import MetricOverrides, TemplateOverrides, told_of_template
from blocks.domain.templates import TemplateSpec, TemplateUse
from blocks.domain.tunings import TUNING_GROUPS, MetricNames, TuningSettings, TuningSpec

_OWN_GROUPS = ("search", "objective", "trainings", "early_stopping")


class TuningMetricOverrides(MetricNames, MetricOverrides):
    """Which metrics are read, and how. What is left empty is as in the template."""


class TemplatedTuningSpec(TuningSettings, TemplateOverrides):
    """A tuning made from a template, whose hyperparameters have one value each unless a range is given for them."""

    not_of_template: ClassVar[frozenset[str]] = frozenset(
        {"name", "metric_names", *(flat for group in _OWN_GROUPS for flat in TUNING_GROUPS[group])}
    )

    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Of the tuning, at most 1,000 characters; can be changed later.",
    )
    metrics: TuningMetricOverrides = Field(
        default=TuningMetricOverrides(),
        title="Metrics",
        description="Which metrics are read, and how. Left empty: as in the template.",
    )

    def use(self, id: str, name: str) -> TemplateUse:
        """What the tuning remembers of the template of this id and name."""
        use = super().use(id, name)
        ranges = (f"hyperparameters.{parameter.name}" for parameter in self.search.parameters)
        return use.model_copy(update={"beside": (*use.beside, *ranges)})

    def over(self, template: TemplateSpec) -> TuningSpec:
        """The tuning's own settings.

        Raises:
            InvalidInputError: With what is given beside it the template makes no tuning: what is missing or wrong.
        """
        base: dict[str, Any] = template.model_dump(mode="json", exclude={"name", "description"})
        ranged = {parameter.name for parameter in self.search.parameters}
        kept = drop_fields(base, self.unset)
        fixed = kept["algorithm"].get("hyperparameters", ())
        kept["algorithm"] = {
            **kept["algorithm"],
            "hyperparameters": [pair for pair in fixed if pair["name"] not in ranged],
        }
        settings = merge_fields(kept, self.settings())
        own = {group: getattr(self, group).model_dump(mode="json") for group in _OWN_GROUPS}
        with told_of_template("tuning", template.name):
            return TuningSpec.model_validate(settings | own | {"name": self.name, "description": self.description})
