"""What specs are made of: names with values, which people may also give as a mapping."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath

MAX_TAGS = 10
MAX_NAME_LENGTH = 63
NAME_PATTERN = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_LENGTH - 1}}}$"
NAME_RULE = f"1 to {MAX_NAME_LENGTH} letters, digits, '.', '_' or '-', beginning with a letter or digit"


class Spec(BaseModel):
    """A part of what is asked for: frozen, unknown fields refused, with what may have been meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, given: object) -> Self:
        """`given` itself, or what a mapping describes.

        Raises:
            pydantic.ValidationError: The mapping breaks a limit.
            InvalidInputError: It is neither.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, Mapping):
            return cls.model_validate(given)
        what, remedy = f"A {type(given).__name__}", f"Give a {cls.__name__}, or a mapping of its settings."
        raise InvalidInputError(what, "it holds no settings", remedy)

    @classmethod
    def known_names(cls) -> Iterable[str]:
        """The names that may be given."""
        return cls.model_fields

    @model_validator(mode="before")
    @classmethod
    def _spelling(cls, value: Any) -> Any:
        unknown = [str(name) for name in value if name not in cls.model_fields] if isinstance(value, Mapping) else []
        for name in unknown:
            if near := difflib.get_close_matches(name, list(cls.known_names()), 1):
                message = "there is no setting '{name}'; did you mean '{near}'?"
                raise PydanticCustomError("misspelled_setting", message, {"name": name, "near": near[0]})
        return value


class NamedValue(Spec):
    """A name and a value, both text."""

    name: str = Field(
        min_length=1, max_length=128, title="Name", description="Name, 1 to 128 characters.", examples=["lr"]
    )
    value: str = Field(
        default="", max_length=4096, title="Value", description="Value, at most 4,096 characters.", examples=["0.1"]
    )

    @field_validator("value", mode="before")
    @classmethod
    def _print(cls, value: object) -> object:
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, int | float) else value

    @field_validator("name", "value")
    @classmethod
    def _printable(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("it holds a NUL character, which neither an argument nor a variable can carry")
        return value


class DatasetSpec(Spec):
    """A named dataset: a path that is staged on each worker before it starts."""

    name: str = Field(
        pattern=NAME_PATTERN,
        title="Name",
        description=f"{NAME_RULE.capitalize()}. The entry point finds the directory in EM_DATASET_{{NAME}}.",
        examples=["train"],
    )
    path: str = Field(
        title="Path", description="obs://, s3://, nas:// or file:// path.", examples=["s3://bucket/digits/train"]
    )

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return str(StoragePath.parse(value))


def named_values(value: object) -> object:
    """`[{"name": ..., "value": ...}]`, also for a mapping of name to value; anything else as it is."""
    return _pairs(value, "value")


def named_paths(value: object) -> object:
    """`[{"name": ..., "path": ...}]`, also for a mapping of name to path; anything else as it is."""
    return _pairs(value, "path")


def optional_path(value: str) -> str:
    """A path as it prints, or nothing.

    Raises:
        InvalidInputError: It is no path.
    """
    return str(StoragePath.parse(value)) if value else ""


def refuse_twice(what: str, names: Iterable[str], variables: Iterable[str]) -> None:
    """Refuse two names that would be one where they are used.

    Args:
        what: For the message.
        names: As they were given.
        variables: What each becomes, in the same order.

    Raises:
        ValueError: It names both.
    """
    seen: dict[str, str] = {}
    for name, variable in zip(names, variables, strict=True):
        if variable in seen:
            both = repr(name) if seen[variable] == name else f"{seen[variable]!r} and {name!r}"
            raise ValueError(f"{what} {both} would be the same {variable}: give each name once")
        seen[variable] = name


def _unique_tags(value: tuple[NamedValue, ...]) -> tuple[NamedValue, ...]:
    names = [tag.name for tag in value]
    refuse_twice("the tags", names, names)
    return value


Tags = Annotated[
    tuple[NamedValue, ...],
    BeforeValidator(named_values),
    AfterValidator(_unique_tags),
    Field(
        default=(),
        max_length=MAX_TAGS,
        title="Tags",
        description=f"Up to {MAX_TAGS} key-value tags; can be changed later.",
        examples=[[{"name": "team", "value": "vision"}]],
    ),
]


def _pairs(value: object, key: str) -> object:
    if isinstance(value, Mapping):
        return [{"name": str(name), key: item} for name, item in value.items()]
    return value
