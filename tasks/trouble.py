"""What a training or a tuning says while something stands in its way that may pass, and when its flow gives up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from blocks.connections.platform import Platform
from blocks.domain.errors import MakerflowError, TransientError
from blocks.domain.lifecycle import TUNING_UNDER_WAY, UNDER_WAY
from blocks.registry.records import Training, Tuning

TRYING = "It is tried again."
SILENCE_SECONDS = 5.0
SILENT = f"The cluster does not answer yet. {TRYING}"


@contextmanager
def told_while_it_lasts(platform: Platform, row: Training) -> Iterator[None]:
    """One attempt of a step, which is tried again after a `TransientError`."""
    try:
        yield
    except TransientError as error:
        _explain(platform, row.id, f"{error} {TRYING}")
        raise
    if row.reason.endswith(TRYING):
        _explain(platform, row.id, "It was tried again, and goes on.")


@contextmanager
def told_of_silence(platform: Platform, row: Training) -> Iterator[None]:
    """The same for a question to the cluster, which is insisted on for long before that counts as an attempt."""
    late = threading.Timer(SILENCE_SECONDS, _explain, (platform, row.id, SILENT))
    late.daemon = True
    late.start()
    try:
        with told_while_it_lasts(platform, row):
            yield
    finally:
        late.cancel()
        late.join()  # it may be saying so just now
    if platform.registry.trainings.get(row.id).reason == SILENT:
        _explain(platform, row.id, "It has answered.")


@contextmanager
def told_of_tuning(platform: Platform, row: Tuning) -> Iterator[None]:
    """The same for a tuning, whose flow says further what became of it."""
    try:
        yield
    except TransientError as error:
        with suppress(MakerflowError):
            platform.registry.tunings.explain(row.id, f"{error} {TRYING}")
        raise


@contextmanager
def told_when_given_up(platform: Platform, training_id: str) -> Iterator[None]:
    """The steps of a flow: a `TransientError` that ends it leaves a training that can be gone on with."""
    row = platform.registry.trainings.get(training_id)
    remedy = f"Nobody follows it any longer; go on with it: makerflow training resume {row.name}"
    if row.reason.endswith(remedy):
        [*_, last] = platform.registry.trainings.history(training_id)
        _explain(platform, training_id, last.reason)
    try:
        yield
    except TransientError as error:
        _explain(platform, training_id, f"{error} {remedy}")
        raise


def _explain(platform: Platform, training_id: str, reason: str) -> None:
    """Say it on the row of a training that is not over, if the registry itself is not what stands in the way."""
    with suppress(MakerflowError):
        if platform.registry.trainings.get(training_id).status in UNDER_WAY:
            platform.registry.trainings.explain(training_id, reason)


@contextmanager
def tuning_told_when_given_up(platform: Platform, tuning_id: str) -> Iterator[None]:
    """The same for the steps of a tuning's flow, whatever ends it while the tuning is under way."""
    row = platform.registry.tunings.get(tuning_id)
    remedy = f"Nobody goes on with it now: makerflow tuning resume {row.name}"
    if row.reason.endswith(remedy):
        [*_, last] = platform.registry.tunings.history(tuning_id)
        _explain_tuning(platform, tuning_id, last.reason)
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, MakerflowError) else f"{type(error).__name__}: {error}."
        _explain_tuning(platform, tuning_id, f"{said} {remedy}")
        raise


def _explain_tuning(platform: Platform, tuning_id: str, reason: str) -> None:
    """Say it on the row of a tuning that is not over, if the registry itself is not what stands in the way."""
    with suppress(MakerflowError):
        if platform.registry.tunings.status(tuning_id) in TUNING_UNDER_WAY:
            platform.registry.tunings.explain(tuning_id, reason)
