"""The output that `makerflow metrics test` reads: a file, a training's, or stdin."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.registry.records import Training
from deployments.cli.training_logs import pieces, read_output


@dataclass(frozen=True)
class Source:
    """Some output.

    Attributes:
        name: What it is called.
        pieces: Of whole lines.
        expressions: Those that its training uses; none for the default one.
        sought: The objective of its tuning, if it is a trial's.
    """

    name: str
    pieces: Iterator[bytes]
    expressions: Sequence[str] = ()
    sought: str = ""


@contextmanager
def open_source(given: str, rank: int) -> Iterator[Source]:
    """A file before a training, whose name may be the same.

    Raises:
        InvalidInputError: There is neither, it cannot be read, or has no such worker.
    """
    if given == "-":
        yield Source("standard input", pieces(sys.stdin.buffer))
        return
    path = Path(given).expanduser()
    if not _exists(path):
        yield _of_training(given, rank)
        return
    if path.is_dir():
        raise InvalidInputError(given, "it is a directory", "Give the file in it that holds the output.")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InvalidInputError(given, f"it cannot be read: {error.strerror}", "Give a file that can.") from error
    with stream:
        yield Source(given, pieces(stream))


def _of_training(given: str, rank: int) -> Source:
    from deployments.cli.access import open_registry

    row = _find(given)
    sought = open_registry().tunings.get(row.tuning_id).spec.objective.metric if row.tuning_id else ""
    return Source(row.name, read_output(row, rank), row.spec.metrics.expressions, sought)


def _find(given: str) -> Training:
    """A training by name or id, or a trial by its tuning's name or id and its number: `digits/17`."""
    from deployments.cli.access import open_registry

    registry = open_registry()
    try:
        return registry.trainings.get(given)
    except NotFoundError:
        tuning, _, number = given.rpartition("/")
        try:
            if tuning and number.isdecimal():
                trial = registry.tunings.trial(registry.tunings.get(tuning).id, int(number))
                return registry.trainings.get(trial.training_id)
        except NotFoundError:
            pass
        remedy = "Give a file, a training by name or id, a trial as TUNING/NUMBER, or - for standard input."
        raise InvalidInputError(f"{given!r}", "there is no such file, and no such training", remedy) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a file's name, or with a null byte
        return False
