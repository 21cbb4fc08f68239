"""Settings over a template's, in a form where leaving out is not giving: for trainings, copies and changes of it.

A form sends every field, so each has a value here that says "as in the template": empty, 0, or `template`. Python and
YAML may leave fields and groups out, and give mappings, as everywhere.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.domain.flat_settings import GROUPS, drop_fields, flat_names, merge_fields
from blocks.domain.spec_values import (
    NAME_PATTERN,
    NAME_RULE,
    DatasetSpec,
    NamedValue,
    Spec,
    Tags,
    named_paths,
    named_values,
)
from blocks.domain.specs import MAX_DATASETS, MAX_HYPERPARAMETERS, SettingsSpec, TrainingSpec
from blocks.domain.templates import TemplateSpec, TemplateUse

_NUMBERS = ("workers", "max_minutes", "max_time_seconds", "storage_gb")


class AlgorithmChoice(StrEnum):
    """The template's algorithm, or another in its place."""

    TEMPLATE = "template"
    OWN = "own"
    TABULAR = "tabular"


class Switch(StrEnum):
    """The template's choice, or another in its place."""

    TEMPLATE = "template"
    ON = "on"
    OFF = "off"


def _switch(value: object) -> object:
    return (Switch.ON if value else Switch.OFF) if isinstance(value, bool) else value


AnySwitch = Annotated[Switch, BeforeValidator(_switch)]


class AlgorithmOverrides(Spec):
    """What is run. What is left empty is as in the template."""

    provided: AlgorithmChoice = Field(
        default=AlgorithmChoice.TEMPLATE,
        title="Provided algorithm",
        description="'template': as there; else one that comes with the platform, or 'own' for the code below.",
    )
    path: str = Field(
        default="", title="Algorithm path", description="Another directory (obs://, s3://, nas:// or file://)."
    )
    entry_point: str = Field(default="", title="Entry point", description="Another Python file, relative to the path.")
    hyperparameters: Annotated[tuple[NamedValue, ...], BeforeValidator(named_values)] = Field(
        default=(),
        max_length=MAX_HYPERPARAMETERS,
        title="Hyperparameters",
        description="Added to the template's; one of the same name takes its place.",
        examples=[[{"name": "lr", "value": "0.3"}]],
    )


class InstanceOverrides(Spec):
    """Where it runs. What is left empty is as in the template."""

    image: str = Field(default="", title="Image", description="Another name of the image catalogue; empty: as there.")
    flavor: str = Field(default="", title="Flavor", description="Another instance type; empty: as there.")
    workers: int = Field(
        default=0, ge=0, title="Workers", description="Another number of distributed workers; 0: as in the template."
    )


class InputOverrides(Spec):
    """What is staged before it starts. What is left empty is as in the template."""

    datasets: Annotated[tuple[DatasetSpec, ...], BeforeValidator(named_paths)] = Field(
        default=(),
        max_length=MAX_DATASETS,
        title="Datasets",
        description="Added to the template's; one of the same name takes its place.",
    )
    checkpoint: str = Field(default="", title="Input checkpoint", description="Another path of checkpoints.")


class OutputOverrides(Spec):
    """Where results go. What is left empty is as in the template."""

    path: str = Field(default="", title="Output path", description="Another path for the model.")
    checkpoint: str = Field(default="", title="Checkpoint output path", description="Another path for checkpoints.")


class MetricOverrides(Spec):
    """How metrics are read. What is left empty is as in the template."""

    expressions: tuple[str, ...] = Field(
        default=(), title="Metric expressions", description="All of them, in the place of the template's."
    )
    all_workers: AnySwitch = Field(
        default=Switch.TEMPLATE, title="Read all workers", description="'template': as there; else on or off."
    )


class LimitOverrides(Spec):
    """Limits and further settings. What is left empty is as in the template."""

    max_minutes: float = Field(
        default=0,
        ge=0,
        title="Maximum training time (minutes)",
        description="Another number of minutes; 0: as in the template.",
    )
    storage_gb: int = Field(
        default=0, ge=0, title="Data-storage size (GB)", description="Another number of GB; 0: as in the template."
    )
    log_management: AnySwitch = Field(
        default=Switch.TEMPLATE, title="Log management", description="'template': as there; else on or off."
    )


class TemplateOverrides(SettingsSpec):
    """A template, and settings over it field by field; what is left empty is as in the template."""

    not_of_template: ClassVar[frozenset[str]] = frozenset({"name"})
    """Flat names of what the template has no say in."""

    template: str = Field(
        min_length=1, title="Template", description="Name or id of the template.", examples=["digits-nightly"]
    )
    name: str = Field(default="", title="New name", description="Of the template; empty: as it is.")
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Another description, at most 1,000 characters; empty: as it is.",
    )
    experiment: str = Field(
        default="", title="Experiment", description="Another experiment, made on the way; empty: as in the template."
    )
    algorithm: AlgorithmOverrides = Field(
        default=AlgorithmOverrides(), title="Algorithm", description="What is run. Left empty: as in the template."
    )
    instances: InstanceOverrides = Field(
        default=InstanceOverrides(), title="Instances", description="Where it runs. Left empty: as in the template."
    )
    inputs: InputOverrides = Field(
        default=InputOverrides(), title="Input data", description="What is staged. Left empty: as in the template."
    )
    outputs: OutputOverrides = Field(
        default=OutputOverrides(), title="Output data", description="Where results go. Left empty: as in the template."
    )
    metrics: MetricOverrides = Field(
        default=MetricOverrides(), title="Metrics", description="How metrics are read. Left empty: as in the template."
    )
    limits: LimitOverrides = Field(
        default=LimitOverrides(), title="Further settings", description="Limits and logs. Left empty: as there."
    )
    tags: Tags = ()
    unset: tuple[str, ...] = Field(
        default=(),
        title="Unset",
        description="What the template sets and shall not be set: hyperparameters.NAME, datasets.NAME, tags.NAME, or a "
        "setting that gets its default again, such as checkpoint_input.",
        examples=[["hyperparameters.momentum", "checkpoint_input"]],
    )

    @classmethod
    def given(cls, template: str, settings: Mapping[str, Any]) -> Self:
        """What Python or a command line gives, where an empty text means none instead of "as in the template".

        Raises:
            InvalidInputError: A number is 0, which in a form means "as in the template".
            pydantic.ValidationError: A setting is unknown or wrong.
        """
        for name in _zeros(settings):
            raise InvalidInputError(f"{name} = 0", "it has to be above 0", "Leave it out to take the template's.")
        empty = [name for name, value in settings.items() if value == "" and name not in cls.not_of_template]
        kept = {name: value for name, value in settings.items() if name not in empty}
        unset = [*kept.pop("unset", ()), *empty]
        return cls.model_validate({"template": template, **kept, "unset": unset})

    def settings(self) -> dict[str, Any]:
        """What is given, in its groups."""
        given: dict[str, Any] = {group: _given(getattr(self, group)) for group in GROUPS}
        given |= {"experiment": self.experiment, "tags": [tag.model_dump() for tag in self.tags]}
        return {name: value for name, value in given.items() if value}

    def use(self, id: str, name: str) -> TemplateUse:
        """What is made from it remembers of the template of this id and name."""
        return TemplateUse(id=id, name=name, beside=(*flat_names(self.settings()), *self.unset))

    def changed_template(self, template: TemplateSpec) -> TemplateSpec:
        """The template with these settings.

        Raises:
            InvalidInputError: There is nothing to unset of a name that is given.
            pydantic.ValidationError: The result breaks a limit.
        """
        texts = {"name": self.name, "description": self.description}
        given = {name: text for name, text in texts.items() if text}
        return template.changed(unset=self.unset, **given, **self.settings())


class TemplateCopySpec(TemplateOverrides):
    """A template made from another, any of whose settings can be overridden."""

    template: str = Field(
        min_length=1, title="Template to copy", description="Its name or id.", examples=["digits-nightly"]
    )
    name: str = Field(
        default="",
        title="Name",
        description="The name of the new one; empty for one that is made from the other's.",
        examples=["digits-weekly"],
    )
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Of the new one, at most 1,000 characters; empty: as the other's.",
    )


class TemplatedTrainingSpec(TemplateOverrides):
    """A training made from a template, which is completed and overridden field by field."""

    name: str = Field(
        pattern=NAME_PATTERN, title="Name", description=f"Unique among trainings: {NAME_RULE}.", examples=["digits-1"]
    )
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Of the training, at most 1,000 characters; can be changed later.",
    )

    def over(self, template: TemplateSpec) -> TrainingSpec:
        """The training's own settings.

        Raises:
            InvalidInputError: With what is given beside it the template makes no training: what is missing or wrong.
        """
        base = template.model_dump(mode="json", exclude={"name", "description"})
        settings = merge_fields(drop_fields(base, self.unset), self.settings())
        with told_of_template("training", template.name):
            return TrainingSpec.model_validate(settings | {"name": self.name, "description": self.description})


@contextmanager
def told_of_template(kind: str, template: str) -> Iterator[None]:
    """Refuse what a template and what is given beside it make together as what it is.

    Args:
        kind: What is made of the template.
        template: Its name.

    Raises:
        InvalidInputError: What is missing or wrong.
    """
    try:
        yield
    except ValidationError as error:
        raise _refusal(kind, template, error) from error


def _zeros(settings: Mapping[str, Any]) -> Iterator[str]:
    """Names of the numbers that are 0, flat or in groups, where a form's 0 means "as in the template"."""
    for name, value in settings.items():
        if name in GROUPS and isinstance(value, Mapping):
            yield from _zeros(value)
        elif name in _NUMBERS and type(value) in (int, float) and value == 0:
            yield name


def _given(group: Spec) -> dict[str, Any]:
    """The fields of a group that do not say "as in the template"."""
    given = group.model_dump(mode="json", exclude_defaults=True)
    switches = {Switch.ON.value: True, Switch.OFF.value: False}
    return {
        name: switches[value] if isinstance(getattr(group, name), Switch) else value for name, value in given.items()
    }


def _refusal(kind: str, template: str, error: ValidationError) -> InvalidInputError:
    wrong = [
        ": ".join(filter(None, [".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")]))
        for detail in error.errors(include_url=False)
    ]
    what = f"A {kind} of the template {template!r} and what is given beside it"
    return InvalidInputError(what, "; ".join(wrong), "Give what is missing beside the template, or correct it.")
