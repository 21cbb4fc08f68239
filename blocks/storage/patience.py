"""How long a store is waited for and how much is asked of it at once: the one place for such numbers."""

from dataclasses import dataclass

from tenacity import RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_random_exponential

from blocks.domain.errors import StorageUnavailableError

MIB = 1 << 20


@dataclass(frozen=True)
class Patience:
    """The limits of one store.

    Attributes:
        connect_seconds: To get a connection.
        answer_seconds: From a request to its first byte.
        stall_seconds: In which a chunk must arrive. A stream that drips on, slower than a chunk each `stall_seconds`,
            is a stall too: a read timeout alone never notices it.
        quick_seconds: For a whole small object or part, before the careful way goes on with it.
        attempts: Failures in a row, without a byte of progress between them, before the store counts as unavailable.
        first_wait_seconds: The upper bound of the random wait after the first failure; it doubles with each.
        longest_wait_seconds: The upper bound of all waits, and of what a store's Retry-After may ask for.
        requests: In flight at once.
        part_bytes: What one request transfers of a large object.
        chunk_bytes: What one careful read takes of a part; an object that is no larger is small.
        slow_chunk_bytes: The same once a read was too slow: so a slow line is told from a stalled store.
    """

    connect_seconds: float = 10
    answer_seconds: float = 60
    stall_seconds: float = 30
    quick_seconds: float = 10
    attempts: int = 10
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30
    requests: int = 16
    part_bytes: int = 16 * MIB
    chunk_bytes: int = MIB
    slow_chunk_bytes: int = MIB // 16


class AttemptError(Exception):
    """One request failed in a way that another may not.

    Attributes:
        retry_after: Seconds that the store asked us to stay away; 0 when it did not say.
    """

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        self.reason, self.retry_after = reason, retry_after
        super().__init__(reason)


class _Wait(wait_base):
    """Exponential with full jitter, and never less than the store asked for."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._backoff = wait_random_exponential(patience.first_wait_seconds, patience.longest_wait_seconds)

    def __call__(self, retry_state: RetryCallState) -> float:
        asked = _failure(retry_state).retry_after
        return max(self._backoff(retry_state), min(asked, self._patience.longest_wait_seconds))


def retrying(patience: Patience, path: str) -> dict[str, object]:
    """The arguments of tenacity's `Retrying` and `AsyncRetrying`: AttemptErrors are tried again, within patience."""

    def give_up(state: RetryCallState) -> None:
        failure = _failure(state)
        raise StorageUnavailableError(path, f"{failure.reason} ({state.attempt_number} attempts)") from failure

    return {
        "retry": retry_if_exception_type(AttemptError),
        "wait": _Wait(patience),
        "stop": stop_after_attempt(patience.attempts),
        "retry_error_callback": give_up,
    }


def _failure(state: RetryCallState) -> AttemptError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, AttemptError)  # noqa: S101 - `retry` lets no other through
    return error
