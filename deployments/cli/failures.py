"""From an error to one clear message, one JSON document and an exit code."""

import errno
import math
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from blocks.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    MakerflowError,
    NotFoundError,
    UnknownStoreError,
)
from deployments.cli.output import FAILED, INVALID, clean, clean_block, write, write_document

if TYPE_CHECKING:
    from pydantic import ValidationError

_MESSAGES = {
    "extra_forbidden": "there is no such setting",
    "missing": "it is needed",
    "string_type": "it is no text: quote it",
}
_EXAMPLES = {"--param": "--param 'lr=DOUBLE[1e-4,1e-1,log]'", "--objective": "--objective val_loss"}
_DURATIONS = (("limits", "max_minutes"), ("trainings", "max_tuning_minutes"))
_TOGETHER = {
    "objective_value": "--objective-value",
    "parallel_trainings": "--parallel",
    "max_failed_trainings": "--max-failed",
    "max_trainings": "--max-trainings",
    "the grid": "--param",
    "parameter": "--param",
    "the objective": "--objective",
}
"""What a refusal of several settings together names, and the option that it is told under: the first that is there."""

_WRONG_INPUT = (InvalidInputError, NotFoundError, AlreadyExistsError, UnknownStoreError)


@dataclass(frozen=True)
class FieldFailure:
    """One setting that was refused.

    Attributes:
        option: The option that sets it on the command line.
        message: What is wrong with it.
    """

    option: str
    message: str


@dataclass(frozen=True)
class Failure:
    """What is told of an error."""

    type: str
    message: str
    code: int
    fields: Sequence[FieldFailure] = ()

    @property
    def status(self) -> str:
        """One word, for a document that has no resource to speak of."""
        return "INVALID" if self.code == INVALID else "FAILED"


def describe(error: Exception) -> Failure:
    """What is told of `error`."""
    kind = type(error).__name__
    if isinstance(error, MakerflowError):
        return Failure(kind, str(error), INVALID if isinstance(error, _WRONG_INPUT) else FAILED)
    if kind == "ValidationError" and hasattr(error, "error_count"):  # pydantic's, which is imported only when needed
        fields = refused_fields(error)  # type: ignore[arg-type] # told by its name above
        lines = [f"{field.option}: {field.message}" for field in fields]
        head = [f"{len(lines)} settings are refused"] if len(lines) > 1 else []
        return Failure("InvalidInputError", "\n  ".join(head + lines), INVALID, fields)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "MAKERFLOW_HOME"
        return Failure(kind, f"The disk of {where} is full. Free some space there, then try again.", FAILED)
    if isinstance(error, OSError):
        return Failure(kind, f"The operating system refused: {error}.", FAILED)
    return Failure(kind, f"Unexpected {kind}: {error}\nMAKERFLOW_DEBUG=1 shows where; please report it.", FAILED)


def report(error: Exception, *, as_json: bool) -> int:
    """Print it, on stderr and in the document that was asked for; the exit code."""
    failure = describe(error)
    if _debugging():
        traceback.print_exception(error)
    write(f"Error: {clean_block(failure.message)}", error=True)
    if as_json:
        with suppress(OSError):  # stdout cannot be written, which changes nothing of what is told
            write_document(failure_document(failure))
    return failure.code


def report_usage(error: typer.TyperException, *, as_json: bool) -> int:
    """The same for a command line that could not be read."""
    code = int(error.exit_code)
    if _is_maybe_text(error):
        error.message += ". Text that begins with - comes after --, e.g.: -- -text"
    if as_json:
        with suppress(OSError):
            write_document(failure_document(Failure("UsageError", error.format_message(), code)))
        write(f"Error: {clean_block(error.format_message())}", error=True)
    else:
        error.show()  # type: ignore[attr-defined] # all that reach this place are its ClickException
    return code


def _is_maybe_text(error: typer.TyperException) -> bool:
    """Whether an unknown option of one dash may be meant as what the command takes as a text."""
    option, context = getattr(error, "option_name", None) or "--", getattr(error, "ctx", None)
    takes_text = context is not None and any(one.param_type_name == "argument" for one in context.command.params)
    return takes_text and not option.startswith("--")


def failure_document(failure: Failure) -> dict[str, object]:
    """The JSON document of a command that failed before it had a resource to show."""
    error: dict[str, object] = {"type": failure.type, "message": failure.message}
    if failure.fields:
        error["fields"] = [asdict(field) for field in failure.fields]
    return {"status": failure.status, "reason": failure.message, "error": error}


def refused_fields(error: "ValidationError") -> list[FieldFailure]:
    """Each refused setting under the name of its option."""
    from blocks.domain.specs import NAME_RULE
    from deployments.cli.fields import option_of

    found = []
    for detail in error.errors(include_url=False):
        message = _MESSAGES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "string_pattern_mismatch" and detail["loc"] in (("name",), ("experiment",)):
            message = f"it has to be {NAME_RULE}"
        if detail["type"] == "too_long":
            what = str(detail["loc"][-1]).replace("_", " ")
            message = (
                f"at most {detail['ctx']['max_length']} {what} are allowed (given: {detail['ctx']['actual_length']})"
            )
        given = detail["input"]
        if detail["loc"] in _DURATIONS and isinstance(given, int | float):
            message = f"more than 0s and at most 365d are allowed (given: {_minutes_text(given)})"
        elif isinstance(given, str | int | float):
            message += f" (given: {clean(repr(given))[:120]})"
        several = detail["loc"] in ((), ("objective",)) and detail["type"] == "value_error"
        option = _option_of_several(message) if several else option_of(detail["loc"])
        if detail["type"] == "missing" and option in _EXAMPLES:
            message += f", e.g. {_EXAMPLES[option]}"
        found.append(FieldFailure(option, message))
    return found


def _option_of_several(message: str) -> str:
    """The option of a refusal that is about no setting alone."""
    return next((option for words, option in _TOGETHER.items() if words in message), "the settings")


def _minutes_text(minutes: float) -> str:
    """As the option takes them."""
    from deployments.cli.fields import duration_text

    return duration_text(minutes * 60) if 0 <= minutes < math.inf else f"{minutes:g} minutes"


def _debugging() -> bool:
    from blocks.connections.settings import ENVIRONMENT

    return bool(ENVIRONMENT.get("MAKERFLOW_DEBUG"))
