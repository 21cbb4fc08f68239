"""From what is typed on a command line to the flat fields of a spec, and back to the option that set a field."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import FORMS

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.ASCII)

_LONG_NUMBER = 9
"""Characters of a number that are still easy to read."""

_OPTIONS = {
    "algorithm.provided": "--provided",
    "algorithm.entry_point": "--entry-point",
    "algorithm.hyperparameters": "--hp",
    "algorithm": "--algorithm",
    "instances.image": "--image",
    "instances.flavor": "--flavor",
    "instances.workers": "--workers",
    "inputs.datasets": "--dataset",
    "inputs.checkpoint": "--checkpoint-input",
    "outputs.path": "--output",
    "outputs.checkpoint": "--checkpoint-output",
    "metrics.expressions": "--metric",
    "metrics.all_workers": "--metrics-of-all-workers",
    "metrics.names": "--metric-name",
    "search": "--param",
    "search.parameters": "--param",
    "search.strategy": "--strategy",
    "search.sampler": "--sampler",
    "search.random_state": "--random-state",
    "search.warm_start": "--warm-start",
    "objective": "--objective",
    "objective.metric": "--objective",
    "objective.type": "--objective-type",
    "objective.goal": "--goal",
    "objective.value": "--objective-value",
    "objective.best_step_metric": "--best-step-metric",
    "objective.best_step_type": "--best-step-type",
    "trainings.max_trainings": "--max-trainings",
    "trainings.max_failed_trainings": "--max-failed",
    "trainings.parallel_trainings": "--parallel",
    "trainings.max_tuning_minutes": "--max-tuning-time",
    "trainings.keep": "--keep",
    "early_stopping": "--early-stopping",
    "early_stopping.min_trainings_required": "--min-trainings-required",
    "early_stopping.start_step": "--start-step",
    "limits.max_minutes": "--max-time",
    "limits.storage_gb": "--storage-gb",
    "limits.log_management": "--log-management",
    "name": "--name",
    "description": "--description",
    "experiment": "--experiment",
    "tags": "--tag",
    "template": "--from-template",
    "unset": "--unset",
}
"""Where a spec keeps what an option sets."""


def option_of(location: Sequence[int | str]) -> str:
    """The option that set what is at `location` of a spec."""
    path = ".".join(str(part) for part in location)
    for field in sorted(_OPTIONS, key=len, reverse=True):
        if path == field or path.startswith(f"{field}."):
            rest = path[len(field) + 1 :]
            # `algorithm` stands for the whole group as well as for the path in it; what is said of a whole parameter
            # names it.
            return _OPTIONS[field] if rest in ("", "path") or rest.isdigit() else f"{_OPTIONS[field]} ({rest})"
    return path or "the settings"


def pairs(option: str, texts: Sequence[str], *, value: str = "value") -> list[dict[str, str]]:
    """`NAME=VALUE` texts as `{"name": ..., value: ...}`, in their order.

    Raises:
        InvalidInputError: A text has no `=`, or nothing before it.
    """
    found = []
    for text in texts:
        name, separator, content = text.partition("=")
        if not separator or not name.strip():
            raise InvalidInputError(
                f"{option} {text!r}", f"it does not have the form NAME={value.upper()}", f"E.g. {option} name={value}."
            )
        found.append({"name": name.strip(), value: content})
    return found


def parameters(option: str, given: Any) -> Any:
    """Parameters of a search, whose texts are written as `lr=DOUBLE[1e-4,1e-1,log]`; what is none stays as it is.

    Raises:
        InvalidInputError: A text is not written so.
    """
    from blocks.domain.parameter_texts import named_parameters

    try:
        return named_parameters([given] if isinstance(given, str) else given)
    except InvalidInputError as error:
        what = error.what.removeprefix("The parameter ")
        raise InvalidInputError(f"{option} {what}", error.why, error.remedy) from error


def choice(option: str, text: str, *known: str) -> str:
    """One of some words, however it was typed: `bayesian-optimization`, or as much of it as is no other's beginning.

    Raises:
        InvalidInputError: It is none of them.
    """
    word = text.strip().upper().replace("-", "_").replace(" ", "_")
    begun = [one for one in known if word and one.startswith(word)]
    if word not in known and len(begun) != 1:
        raise InvalidInputError(f"{option} {text!r}", "it is none of the choices", f"One of: {', '.join(known)}.")
    return word if word in known else begun[0]


def mapping(option: str, texts: Sequence[str]) -> dict[str, str]:
    """The same as a mapping.

    Raises:
        InvalidInputError: A text has not the form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs(option, texts):
        if pair["name"] in found:
            raise InvalidInputError(f"{option} {pair['name']}", "it is given twice", "Give each name once.")
        found[pair["name"]] = pair["value"]
    return found


def tag_filter(texts: list[str]) -> dict[str, str | None]:
    """`K=V` and `K` texts as a filter; a bare name asks that the tag exists."""
    split = (text.partition("=") for text in texts)
    return {name: value if separator else None for name, separator, value in split}


def seconds(option: str, text: str) -> float:
    """A duration such as `90s`, `30m`, `2h`, `1h30m`, `1.5h` or `2d`.

    Raises:
        InvalidInputError: It is none.
    """
    compact = text.strip().lower().replace(" ", "")
    if not _DURATION.fullmatch(compact):
        raise InvalidInputError(f"{option} {text!r}", "it is no duration", "Write e.g. 90s, 30m, 2h, 1h30m or 2d.")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))


def storage_path(option: str, text: str, base: Path | None = None) -> str:
    """A path of any store as it stands; a path of this machine (`./code`, `~/data`, `/data`) as an absolute `file://`.

    Args:
        option: For messages.
        text: What was given.
        base: The folder that a relative path starts from; the current one when not given.

    Raises:
        InvalidInputError: It is empty, or looks like a store's path with a slip of the pen.
    """
    if "://" in text:
        return text
    if not text or re.match(r"(?:obs|s3|nas|file):", text, re.ASCII):
        raise InvalidInputError(f"{option} {text!r}", "it is no path", f"Use {FORMS}, or a path of this machine.")
    return "file://" + os.path.abspath((base or Path.cwd()) / Path(text).expanduser())


def dataset_pairs(option: str, texts: Sequence[str], base: Path | None = None) -> list[dict[str, str]]:
    """`NAME=PATH` texts as datasets.

    Raises:
        InvalidInputError: A text has not the form, or the path is none.
    """
    return [
        {"name": pair["name"], "path": storage_path(f"{option} {pair['name']}", pair["path"], base)}
        for pair in pairs(option, texts, value="path")
    ]


def status_word(word: str, known: Sequence[str]) -> str:
    """A status as the life cycle writes it, however it was typed: `fail-train`, `FAIL_TRAIN`, `Fail Train`.

    Raises:
        InvalidInputError: There is no such status.
    """
    found = word.upper().replace("-", " ").replace("_", " ")
    for one in known:
        if one.replace("_", " ") == found:
            return one
    raise InvalidInputError(f"--status {word!r}", "there is no such status", f"One of: {', '.join(known)}.")


def duration_text(seconds: float | None) -> str:
    """Seconds for people: `45s`, `2m 05s`, `1h 02m`, `3d 04h`; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def size_text(size: int) -> str:
    """Bytes for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def count_text(count: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def value_text(value: object) -> str:
    """A number with six digits, empty for None, else as it prints."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def pair_text(pairs: Mapping[str, object]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name}={value}" for name, value in pairs.items())


def point_text(point: Mapping[str, str]) -> str:
    """Hyperparameters on one line, long numbers with six digits."""
    return pair_text({name: _short(value) for name, value in point.items()})


def _short(value: str) -> str:
    try:
        return value if len(value) <= _LONG_NUMBER else f"{float(value):.6g}"
    except ValueError:
        return value


def check_rank(rank: int, workers: int, training: str) -> None:
    """Refuse a worker that a training has not.

    Raises:
        InvalidInputError: It says which there are.
    """
    if rank >= workers:
        raise InvalidInputError(f"--rank {rank}", f"{training} has workers 0 to {workers - 1}", "Choose one of them.")
