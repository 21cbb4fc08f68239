"""What a run asks for: frozen models that are the flows' parameters and the forms of the workflow UI.

The form decides the shape: groups of a few fields, literal defaults instead of None, lists of `{name, value}` instead
of mappings. People who write Python or YAML may give mappings and leave the groups out:
`TrainingSpec(name="a", algorithm="s3://b/code", entry_point="train.py", hyperparameters={"lr": 0.1})`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from blocks.domain.environment import environment_name
from blocks.domain.paths import StoragePath

MAX_TAGS = 10
MAX_DATASETS = 10
MAX_HYPERPARAMETERS = 100
MAX_WORKERS = 64
MAX_METRIC_EXPRESSIONS = 20
DEFAULT_IMAGE = "python"
DEFAULT_FLAVOR = "c1m2"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
NAME_RULE = "1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit"


class Spec(BaseModel):
    """A part of what is asked for: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False)


class NamedValue(Spec):
    """A name and a value, both text."""

    name: str = Field(min_length=1, max_length=128, description="Name, 1 to 128 characters.", examples=["lr"])
    value: str = Field(default="", max_length=4096, description="Value, at most 4,096 characters.", examples=["0.1"])

    @field_validator("value", mode="before")
    @classmethod
    def _print(cls, value: object) -> object:
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, int | float) else value


class DatasetSpec(Spec):
    """A named dataset: a path that is staged on each worker before it starts."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$",
        description="Name: a letter, then up to 62 letters, digits or '_'. The entry point finds the directory in "
        "EM_DATASET_{NAME}.",
        examples=["train"],
    )
    path: str = Field(description="obs://, s3://, nas:// or file:// path.", examples=["s3://bucket/digits/train"])

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return str(StoragePath.parse(value))


def _pairs(value: object, key: str = "value") -> object:
    """Accept `{name: value}` where a list of `{name, value}` is meant."""
    if isinstance(value, Mapping):
        return [{"name": str(name), key: item} for name, item in value.items()]
    return value


def _dataset_pairs(value: object) -> object:
    return _pairs(value, "path")


def _unique(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name!r} is given twice; names that differ only in case count as the same")
        seen.add(name)


Tags = Annotated[
    tuple[NamedValue, ...],
    BeforeValidator(_pairs),
    Field(
        default=(),
        max_length=MAX_TAGS,
        title="Tags",
        description=f"Up to {MAX_TAGS} key-value tags; can be changed later.",
        examples=[[{"name": "team", "value": "vision"}]],
    ),
]


def _optional_path(value: str) -> str:
    return str(StoragePath.parse(value)) if value else ""


class ProvidedAlgorithm(StrEnum):
    """Algorithms that come with the platform; `own` means one's own code."""

    OWN = "own"
    TABULAR = "tabular"


class AlgorithmSpec(Spec):
    """What is run: a provided algorithm, or one's own code at a path."""

    provided: ProvidedAlgorithm = Field(
        default=ProvidedAlgorithm.OWN,
        title="Provided algorithm",
        description="One that comes with the platform, or 'own' for the code at the path below.",
    )
    path: str = Field(
        default="",
        title="Algorithm path",
        description="Own code: the directory (obs://, s3://, nas:// or file://) that holds the entry point.",
        examples=["s3://bucket/code"],
    )
    entry_point: str = Field(
        default="",
        max_length=1024,
        title="Entry point",
        description="Own code: the Python file that is run, relative to the algorithm path. A requirements.txt beside "
        "it is installed first.",
        examples=["train.py"],
    )
    hyperparameters: Annotated[tuple[NamedValue, ...], BeforeValidator(_pairs)] = Field(
        default=(),
        max_length=MAX_HYPERPARAMETERS,
        title="Hyperparameters",
        description=f"Up to {MAX_HYPERPARAMETERS}, given to the entry point as --{{name}} {{value}} and as "
        "EM_HP_{NAME}.",
        examples=[[{"name": "lr", "value": "0.1"}]],
    )

    _check_path = field_validator("path")(staticmethod(_optional_path))

    @field_validator("hyperparameters")
    @classmethod
    def _names(cls, value: tuple[NamedValue, ...]) -> tuple[NamedValue, ...]:
        for pair in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", pair.name, re.ASCII):
                raise ValueError(
                    f"hyperparameter {pair.name!r}: a name is a letter or '_', then letters, digits, '_', '-' or '.'"
                )
        _unique("hyperparameter", [environment_name(pair.name) for pair in value])
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "AlgorithmSpec":
        if self.provided is ProvidedAlgorithm.OWN:
            if not self.path or not self.entry_point:
                raise ValueError(
                    "one's own algorithm needs both a path and an entry point (or choose a provided algorithm)"
                )
        elif self.path or self.entry_point:
            raise ValueError(
                f"the provided algorithm {self.provided.value!r} brings its own code: leave path and entry point empty"
            )
        return self


class InstanceSpec(Spec):
    """Where it runs."""

    image: str = Field(
        default=DEFAULT_IMAGE,
        title="Image",
        description="A name of the image catalogue (`makerflow catalogue images`): the packages the entry point finds.",
        examples=["python"],
    )
    flavor: str = Field(
        default=DEFAULT_FLAVOR,
        title="Flavor",
        description="A name of the instance-type catalogue (`makerflow catalogue flavors`): what each worker gets.",
        examples=["c1m2"],
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        title="Workers",
        description=f"Number of distributed workers, 1 to {MAX_WORKERS}.",
    )


class InputSpec(Spec):
    """What is staged before it starts."""

    datasets: Annotated[tuple[DatasetSpec, ...], BeforeValidator(_dataset_pairs)] = Field(
        default=(),
        max_length=MAX_DATASETS,
        title="Datasets",
        description=f"Up to {MAX_DATASETS} named datasets.",
        examples=[[{"name": "train", "path": "s3://bucket/digits/train"}]],
    )
    checkpoint: str = Field(
        default="",
        title="Input checkpoint",
        description="Path of checkpoints to go on from; empty for none. The entry point finds them in "
        "EM_CHECKPOINT_INPUT_DIR.",
        examples=["s3://bucket/checkpoints/earlier"],
    )

    _check_path = field_validator("checkpoint")(staticmethod(_optional_path))

    @field_validator("datasets")
    @classmethod
    def _names(cls, value: tuple[DatasetSpec, ...]) -> tuple[DatasetSpec, ...]:
        _unique("dataset", [environment_name(dataset.name) for dataset in value])
        return value


class OutputSpec(Spec):
    """Where results go."""

    path: str = Field(
        default="",
        title="Output path",
        description="What the entry point leaves in EM_MODEL_DIR is uploaded here; empty for the platform's own "
        "folder.",
        examples=["s3://bucket/models/digits"],
    )
    checkpoint: str = Field(
        default="",
        title="Checkpoint output path",
        description="What the entry point leaves in EM_CHECKPOINT_DIR is uploaded here while it runs; empty for the "
        "platform's own folder.",
        examples=["s3://bucket/checkpoints/digits"],
    )

    _check_path = field_validator("path", "checkpoint")(staticmethod(_optional_path))


class MetricSpec(Spec):
    """How metrics are read from the output of the entry point."""

    expressions: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_METRIC_EXPRESSIONS,
        title="Metric expressions",
        description=f"Up to {MAX_METRIC_EXPRESSIONS} regular expressions (RE2): first group the metric's name, second "
        "its value, or groups called name and value (and step). Empty for the default, which reads name=value and "
        "name: value.",
        examples=[[r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"]],
    )
    all_workers: bool = Field(
        default=False,
        title="Read all workers",
        description="Read every worker's output, not only the first one's; names then end in '/worker-N'.",
    )


class LimitSpec(Spec):
    """Limits and further settings."""

    max_minutes: float = Field(
        default=1440,
        gt=0,
        le=60 * 24 * 365,
        title="Maximum training time (minutes)",
        description="Past this many minutes after its first start the training is ended, at most a year.",
        examples=[90],
    )
    storage_gb: int = Field(
        default=50,
        ge=1,
        le=2040,
        title="Data-storage size (GB)",
        description="Room for staged objects and what the entry point writes, on each worker, 1 to 2,040 GB. Counts "
        "only with object storage.",
    )
    log_management: bool = Field(
        default=False,
        title="Log management",
        description="Also keep every worker's output in the log store.",
    )


GROUPS: dict[str, dict[str, str]] = {
    "algorithm": {
        "provided": "provided",
        "entry_point": "entry_point",
        "hyperparameters": "hyperparameters",
    },
    "instances": {"image": "image", "flavor": "flavor", "workers": "workers"},
    "inputs": {"datasets": "datasets", "checkpoint_input": "checkpoint"},
    "outputs": {"output": "path", "checkpoint_output": "checkpoint"},
    "metrics": {"metric_expressions": "expressions", "metrics_of_all_workers": "all_workers"},
    "limits": {"max_minutes": "max_minutes", "storage_gb": "storage_gb", "log_management": "log_management"},
}
"""The flat names that stand beside the groups: group to (flat name to field of the group)."""


class TrainingSpec(Spec):
    """A training: run an algorithm on data, once or as many distributed workers."""

    name: str = Field(
        pattern=NAME_PATTERN,
        title="Name",
        description=f"Unique among trainings: {NAME_RULE}.",
        examples=["digits-1"],
    )
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="Free text, at most 1,000 characters; can be changed later.",
    )
    experiment: str = Field(
        default="default",
        pattern=NAME_PATTERN,
        title="Experiment",
        description="The experiment that it belongs to; made on the way when it does not exist.",
    )
    algorithm: AlgorithmSpec = Field(title="Algorithm", description="What is run.")
    instances: InstanceSpec = Field(default=InstanceSpec(), title="Instances", description="Where it runs.")
    inputs: InputSpec = Field(default=InputSpec(), title="Input data", description="What is staged before it starts.")
    outputs: OutputSpec = Field(default=OutputSpec(), title="Output data", description="Where results go.")
    metrics: MetricSpec = Field(default=MetricSpec(), title="Metrics", description="How metrics are read.")
    limits: LimitSpec = Field(default=LimitSpec(), title="Further settings", description="Limits and logs.")
    tags: Tags = ()

    @model_validator(mode="before")
    @classmethod
    def _group(cls, value: Any) -> Any:
        return group_fields(value) if isinstance(value, Mapping) else value

    @field_validator("tags")
    @classmethod
    def _tag_names(cls, value: tuple[NamedValue, ...]) -> tuple[NamedValue, ...]:
        _unique("tag", [tag.name for tag in value])
        return value

    def changed(self, **overrides: Any) -> "TrainingSpec":
        """A copy with some settings replaced, by their flat or grouped names; a group is merged field by field.

        Hyperparameters, datasets and tags are replaced name by name, so that one can be changed and the rest kept.

        Raises:
            pydantic.ValidationError: The result breaks a limit.
        """
        return TrainingSpec.model_validate(merge_fields(self.model_dump(mode="json"), group_fields(overrides)))


class ExperimentSpec(Spec):
    """An experiment groups trainings and tunings that belong together."""

    name: str = Field(pattern=NAME_PATTERN, title="Name", description=f"Unique: {NAME_RULE}.", examples=["digits"])
    description: str = Field(
        default="", max_length=1000, title="Description", description="Free text, at most 1,000 characters."
    )


def group_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move flat names (`entry_point`, `workers`, `output`, ...) into their groups; grouped ones stay as they are.

    `algorithm` may be a path, and `max_time_seconds` stands for `max_minutes`.

    Raises:
        ValueError: A setting is given both flat and in its group.
    """
    grouped = dict(values)
    if isinstance(grouped.get("algorithm"), str):
        grouped["algorithm"] = {"path": grouped["algorithm"]}
    if "max_time_seconds" in grouped:
        grouped["max_minutes"] = float(grouped.pop("max_time_seconds")) / 60
    for group, names in GROUPS.items():
        given = {names[flat]: grouped.pop(flat) for flat in list(names) if flat in grouped}
        if not given:
            continue
        present = grouped.get(group) or {}
        present = present.model_dump() if isinstance(present, BaseModel) else dict(present)
        if twice := sorted(given.keys() & present.keys()):
            raise ValueError(f"{group}.{twice[0]} is given twice, beside its group and in it")
        grouped[group] = present | given
    return grouped


def merge_fields(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`overrides` over `base`, group by group; lists of named things name by name (an override's order comes last)."""
    merged = dict(base)
    for key, value in overrides.items():
        current = merged.get(key)
        value = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        if key in ("hyperparameters", "datasets", "tags"):
            value, current = (_listed(key, items) for items in (value, current or ()))
            given = [_name_of(item) for item in value]
            merged[key] = [item for item in current if _name_of(item) not in given] + value
        elif isinstance(current, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_fields(current, value)
        else:
            merged[key] = value
    return merged


def _listed(key: str, items: object) -> list[Any]:
    items = _dataset_pairs(items) if key == "datasets" else _pairs(items)
    many = items if isinstance(items, list | tuple) else [items]
    return [item.model_dump() if isinstance(item, BaseModel) else item for item in many]


def _name_of(item: Any) -> object:
    return item.get("name") if isinstance(item, Mapping) else item
