"""The groups of a training's settings: what each holds, with its limits. A group is a box of the form in the UI."""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from blocks.domain.environment import environment_name
from blocks.domain.metrics import check_expressions
from blocks.domain.paths import check_relative_key
from blocks.domain.spec_values import (
    DatasetSpec,
    NamedValue,
    Spec,
    named_paths,
    named_values,
    optional_path,
    refuse_twice,
)

MAX_DATASETS = 10
MAX_HYPERPARAMETERS = 100
MAX_HYPERPARAMETER_BYTES = 100_000
"""Of all together as JSON: Linux takes no variable of more than 128 KiB, and EM_HPS holds them all."""
MAX_WORKERS = 64
MAX_METRIC_EXPRESSIONS = 20
DEFAULT_IMAGE = "python"
DEFAULT_FLAVOR = "c1m2"

HYPERPARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


class ProvidedAlgorithm(StrEnum):
    """Algorithms that come with the platform; `own` means one's own code."""

    OWN = "own"
    TABULAR = "tabular"


def check_hyperparameters(pairs: Sequence[NamedValue]) -> None:
    """Refuse hyperparameters that no entry point could be given together.

    Raises:
        ValueError: It says which, and what is allowed.
    """
    for pair in pairs:
        if not HYPERPARAMETER_NAME.fullmatch(pair.name):
            raise ValueError(
                f"hyperparameter {pair.name!r}: a name is a letter or '_', then letters, digits, '_', '-' or '.'"
            )
    if len(pairs) > MAX_HYPERPARAMETERS:
        raise ValueError(
            f"at most {MAX_HYPERPARAMETERS} hyperparameters are allowed, those with a range included, and there are "
            f"{len(pairs)}"
        )
    names = [pair.name for pair in pairs]
    refuse_twice("the hyperparameters", names, [f"EM_HP_{environment_name(name)}" for name in names])
    size = len(json.dumps({pair.name: pair.value for pair in pairs}, ensure_ascii=False).encode())
    if size > MAX_HYPERPARAMETER_BYTES:
        raise ValueError(
            f"the hyperparameters are {size:,} bytes together, at most {MAX_HYPERPARAMETER_BYTES:,} are allowed; "
            "put long values into a file of the algorithm or of a dataset"
        )


class AlgorithmSettings(Spec):
    """What is run: a provided algorithm, or one's own code at a path; it need not be complete yet."""

    provided: ProvidedAlgorithm = Field(
        default=ProvidedAlgorithm.OWN,
        title="Provided algorithm",
        description="One that comes with the platform, or 'own' for the code at the path below.",
        examples=["tabular"],
    )
    path: str = Field(
        default="",
        title="Algorithm path",
        description="Own code: the directory (obs://, s3://, nas:// or file://) that holds the entry point.",
        examples=["s3://bucket/code"],
    )
    entry_point: str = Field(
        default="",
        title="Entry point",
        description="Own code: the Python file that is run, relative to the algorithm path, at most 1,024 bytes. A "
        "requirements.txt at the algorithm path is installed first.",
        examples=["train.py"],
    )
    hyperparameters: Annotated[tuple[NamedValue, ...], BeforeValidator(named_values)] = Field(
        default=(),
        max_length=MAX_HYPERPARAMETERS,
        title="Hyperparameters",
        description=f"Up to {MAX_HYPERPARAMETERS}, together at most {MAX_HYPERPARAMETER_BYTES:,} bytes; given to the "
        "entry point as --{name} {value} and as EM_HP_{NAME}.",
        examples=[[{"name": "lr", "value": "0.1"}]],
    )

    _check_path = field_validator("path")(staticmethod(optional_path))

    @field_validator("entry_point")
    @classmethod
    def _inside(cls, value: str) -> str:
        return check_relative_key(value) if value else ""

    @field_validator("hyperparameters")
    @classmethod
    def _names(cls, value: tuple[NamedValue, ...]) -> tuple[NamedValue, ...]:
        check_hyperparameters(value)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.provided is not ProvidedAlgorithm.OWN and (self.path or self.entry_point):
            raise ValueError(
                f"the provided algorithm {self.provided.value!r} brings its own code: leave path and entry point empty"
            )
        return self


class AlgorithmSpec(AlgorithmSettings):
    """What is run: a provided algorithm, or one's own code at a path."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provided is ProvidedAlgorithm.OWN and not (self.path and self.entry_point):
            raise ValueError(
                "one's own algorithm needs both a path and an entry point (or choose a provided algorithm)"
            )
        return self


class InstanceSpec(Spec):
    """Where it runs."""

    image: str = Field(
        default=DEFAULT_IMAGE,
        title="Image",
        description="A name of the image catalogue (`makerflow catalogue images`): the packages the entry point finds. "
        "A provided algorithm brings its own.",
        examples=["scikit-learn"],
    )
    flavor: str = Field(
        default=DEFAULT_FLAVOR,
        title="Flavor",
        description="A name of the instance-type catalogue (`makerflow catalogue flavors`): what each worker gets.",
        examples=["c2m4"],
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        title="Workers",
        description=f"Number of distributed workers, 1 to {MAX_WORKERS}.",
        examples=[2],
    )


class InputSpec(Spec):
    """What is staged before it starts."""

    datasets: Annotated[tuple[DatasetSpec, ...], BeforeValidator(named_paths)] = Field(
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

    _check_path = field_validator("checkpoint")(staticmethod(optional_path))

    @field_validator("datasets")
    @classmethod
    def _names(cls, value: tuple[DatasetSpec, ...]) -> tuple[DatasetSpec, ...]:
        names = [dataset.name for dataset in value]
        refuse_twice("the datasets", names, [f"EM_DATASET_{environment_name(name)}" for name in names])
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

    _check_path = field_validator("path", "checkpoint")(staticmethod(optional_path))


class MetricSpec(Spec):
    """How metrics are read from the output of the entry point."""

    expressions: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_METRIC_EXPRESSIONS,
        title="Metric expressions",
        description=f"Up to {MAX_METRIC_EXPRESSIONS} regular expressions (RE2): first group the metric's name, second "
        "its value, or groups called name and value (and step). Longer lines are cut at 8 KiB. Empty for the default, "
        "which reads name=value and name: value.",
        examples=[[r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"]],
    )
    all_workers: bool = Field(
        default=False,
        title="Read all workers",
        description="Read every worker's output, not only the first one's; names then end in '/worker-N'.",
        examples=[True],
    )

    @field_validator("expressions")
    @classmethod
    def _usable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_expressions(value)
        return value


class LimitSpec(Spec):
    """Limits and further settings."""

    max_minutes: float = Field(
        default=1440,
        gt=0,
        le=60 * 24 * 365,
        allow_inf_nan=False,
        title="Maximum training time (minutes)",
        description="Past this many minutes after its first start the training is ended, pauses after a crash "
        "included; above 0, at most a year (525,600).",
        examples=[90],
    )
    storage_gb: int = Field(
        default=50,
        ge=1,
        le=2040,
        title="Data-storage size (GB)",
        description="Room for staged objects and what the entry point writes, on each worker, 1 to 2,040 GB. Counts "
        "only with object storage.",
        examples=[100],
    )
    log_management: bool = Field(
        default=False,
        title="Log management",
        description="Also keep every worker's output in the log store.",
        examples=[True],
    )
