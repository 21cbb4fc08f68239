"""What other processes do to a registry in the contract's tests. Each is one process of `multiprocessing`."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any

# The server that forks the processes has imported what is slow to import, once for all of them.
import blocks.registry.migrating
import blocks.registry.postgres
import blocks.registry.sqlite
import blocks.registry.writing  # noqa: F401 - see above
from blocks.domain.errors import AlreadyExistsError, ConcurrentUpdateError, MakerflowError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.database import open_registry
from tests.contract.registry_contract import spec_of
from tests.contract.registry_metrics_contract import points_of

DEADLINE_SECONDS = 120.0
STEP = 10


def context() -> ForkServerContext:
    """Processes of their own, none of which has anything open that another has."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


def at_once(work: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
    """What `count` processes answer that do the same at the same moment."""
    forkserver = context()
    answers: Any = forkserver.SimpleQueue()
    barrier = forkserver.Barrier(count)
    processes = [
        forkserver.Process(target=_answer, args=(answers, barrier, work, number, *arguments)) for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE_SECONDS)
        assert process.exitcode == 0, f"{process} did not end well"
    found = [answers.get() for _ in processes]
    answers.close()
    return found


def _answer(answers: Any, barrier: Barrier, work: Callable[..., Any], number: int, *arguments: Any) -> None:
    barrier.wait(DEADLINE_SECONDS)
    answers.put(work(number, *arguments))


@contextmanager
def running(work: Callable[..., Any], *arguments: Any) -> Iterator[BaseProcess]:
    """A process that is killed when it has not ended."""
    process = context().Process(target=work, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(DEADLINE_SECONDS)
        process.close()


def open_and_create(number: int, url: str) -> str:
    """Open a database that may be new, create the experiment that everybody creates, and one of one's own."""
    with open_registry(url) as registry:
        registry.experiments.create(ExperimentSpec(name=f"own-{number}"))
        experiment = registry.experiments.ensure(ExperimentSpec(name="shared"))
        try:
            registry.trainings.create(spec_of("shared"), experiment.id)
        except AlreadyExistsError:
            return f"lost {experiment.id}"
        return f"won {experiment.id}"


def claim(number: int, url: str, training_id: str) -> bool:
    """Move a training that everybody wants to move; whether it was this process that did."""
    requested = TrainingStatus.CREATE_REQUESTED
    with open_registry(url) as registry:
        try:
            registry.trainings.move(training_id, TrainingStatus.CREATE_IN_PROGRESS, f"by {number}", expected=requested)
        except ConcurrentUpdateError:
            return False
        return True


def delete_or_join(number: int, url: str, experiment_id: str) -> str:
    """Half of the processes delete an experiment, half put a training into it; what came of it."""
    with open_registry(url) as registry:
        try:
            if number % 2:
                registry.trainings.create(spec_of(f"joins-{number}"), experiment_id)
                return "joined"
            registry.experiments.delete(experiment_id)
            return "deleted"
        except MakerflowError as error:
            return type(error).__name__


def follow_for_ever(url: str, training_id: str) -> None:
    """Read a log that never ends: every byte of it is a value."""
    with open_registry(url) as registry:
        row = registry.trainings.get(training_id)
        while True:
            read = row.log_cursors.get(0, 0)
            values = [float(n) for n in range(read, read + STEP)]
            points = points_of(values, first_step=read)
            row = registry.trainings.follow(row.id, after=row.revision, log_cursors={0: read + STEP}, points=points)


def hold_lease(url: str, key: str, held: Any) -> None:
    """Take a lease, say so, and never give it back."""
    with open_registry(url) as registry, registry.lease(key):
        held.set()
        while True:
            held.wait(DEADLINE_SECONDS)


def follow_to(number: int, url: str, training_id: str, end: int) -> int:
    """Follow a log to its end beside others who do the same; how many of the steps were this process's."""
    own = 0
    with open_registry(url) as registry:
        row = registry.trainings.get(training_id)
        while (read := row.log_cursors.get(0, 0)) < end:
            points = points_of([float(number)] * STEP, first_step=read)
            try:
                row = registry.trainings.follow(row.id, after=row.revision, log_cursors={0: read + STEP}, points=points)
                own += 1
            except ConcurrentUpdateError:
                row = registry.trainings.get(training_id)
    return own
