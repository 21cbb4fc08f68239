"""Every error that a caller can act on.

```
MakerflowError
├── TransientError                 trying again may help
│   ├── StorageUnavailableError
│   ├── ClusterUnavailableError
│   │   └── StopRecordedError
│   ├── RegistryUnavailableError
│   ├── LogStoreUnavailableError
│   ├── LogCollectorUnavailableError
│   ├── WorkflowServerUnavailableError
│   └── ConcurrentUpdateError
└── PermanentError                 trying again cannot help
    ├── InvalidInputError          (ValueError)
    │   └── TemplateOutdatedError
    ├── NotFoundError              (LookupError)
    ├── AlreadyExistsError
    ├── IllegalTransitionError     (ValueError)
    ├── NothingToStopError
    ├── InUseError
    │   └── BusyError
    ├── RegistryUnusableError
    ├── LogStoreUnusableError
    │   └── LogStoreFullError
    ├── AccessDeniedError          (PermissionError)
    │   └── CredentialsRefusedError
    ├── UnknownStoreError
    ├── InputMissingError
    ├── InputChangedError
    ├── CapacityError
    ├── PlaceGoneError
    ├── EnvironmentFailedError
    └── RunFailedError
```

A class takes facts, keeps them as attributes and writes its own message: what happened, to what, and what to do.
"""

from collections.abc import Sequence
from typing import Any


class MakerflowError(Exception):
    """The root of every error that this product raises on purpose. Each can be pickled, with its facts."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the constructor with the message, where ours take facts.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[MakerflowError], args: tuple[str, ...], facts: dict[str, Any]) -> MakerflowError:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(facts)
    return error


class TransientError(MakerflowError):
    """Trying again may help."""


class PermanentError(MakerflowError):
    """Trying again cannot help: something has to be changed first."""


class StorageUnavailableError(TransientError):
    """A store did not answer, answered too slowly, or answered that it is overloaded."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"The store of {path} is not available: {reason}. Check that it runs, then try again.")


class ClusterUnavailableError(TransientError):
    """The cluster did not answer."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The cluster is not available: {reason}. Try again.")


class StopRecordedError(ClusterUnavailableError):
    """The cluster does not hear yet that something is to stop, which is written down."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        later = "who follows it ends it once the cluster answers, or else `makerflow upkeep` does"
        self.args = (f"The cluster is not available: {reason}. That {name} is to stop is recorded: {later}.",)


class RegistryUnavailableError(TransientError):
    """The database did not answer or was locked for too long."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The registry's database is not available: {reason}. Try again.")


class LogStoreUnavailableError(TransientError):
    """The log store is locked for too long, or its disk is full."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"The log store {where} is not available: {reason}. Mend that, then try again.")


class LogCollectorUnavailableError(TransientError):
    """The HTTP collector that gets the log store's records did not take them."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"The log collector {url} did not take the records: {reason}. They are sent again later.")


class WorkflowServerUnavailableError(TransientError):
    """A Prefect server did not start, or does not answer."""

    def __init__(self, address: str, reason: str) -> None:
        self.address, self.reason = address, reason
        super().__init__(f"The Prefect server {address} is not available: {reason}. Mend that, then try again.")


class ConcurrentUpdateError(TransientError):
    """Somebody else changed the row between reading and writing."""

    def __init__(self, kind: str, id: str, expected: str, found: str) -> None:
        self.kind, self.id, self.expected, self.found = kind, id, expected, found
        super().__init__(f"{kind} {id} changed from {expected} to {found} meanwhile. Read it again and decide anew.")


class InvalidInputError(PermanentError, ValueError):
    """A value that was given is outside of what is allowed."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__(f"{what}: {why}. {remedy}")


class TemplateOutdatedError(InvalidInputError):
    """A template names something that is gone, or that cannot be used any more."""

    def __init__(self, template: str, setting: str, trouble: str) -> None:
        self.template, self.setting, self.trouble = template, setting, trouble
        remedy = f"Or give another value beside the template, or change it: `makerflow template change {template}`."
        super().__init__(f"The template {template!r} cannot be used with its {setting}", trouble, remedy)
        self.args = (f"{self.what}: {trouble} {remedy}",)


_SHOWN_BY = {
    "experiment": "experiment list",
    "training": "training list",
    "tuning": "tuning list",
    "trial": "tuning trials TUNING",
    "template": "template list",
    "connection": "connection list",
    "metric": "training metrics",
    "schedule": "training schedules",
}
"""The command that lists what there is of a kind; of other kinds people see nothing by name."""


class NotFoundError(PermanentError, LookupError):
    """There is no such resource."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        command = _SHOWN_BY.get(kind)
        remedy = f"`makerflow {command}` shows those that exist." if command else "It was removed, or never there."
        super().__init__(f"There is no {kind} {key!r}. {remedy}")


class AlreadyExistsError(PermanentError):
    """A name that must be unique is taken."""

    def __init__(self, kind: str, name: str, id: str) -> None:
        self.kind, self.name, self.id = kind, name, id
        article = "An" if kind[0] in "aeiou" else "A"
        taken = f"{article} {kind} named {name!r} exists already (id {id})"
        super().__init__(f"{taken}. Choose another name, or delete that one.")


class IllegalTransitionError(PermanentError, ValueError):
    """The life cycle does not allow this move."""

    def __init__(self, kind: str, id: str, source: str, target: str, allowed: Sequence[str]) -> None:
        self.kind, self.id, self.source, self.target, self.allowed = kind, id, source, target, tuple(allowed)
        ways = ", ".join(allowed) or "nowhere: it is final"
        super().__init__(f"{kind} {id} cannot move from {source} to {target}. From {source} it can move to: {ways}.")


class NothingToStopError(PermanentError):
    """What is to be stopped is over, or about to be."""

    def __init__(self, kind: str, name: str, id: str, status: str) -> None:
        self.kind, self.name, self.id, self.status = kind, name, id, status
        named = id if name == id else f"{name} ({id})"
        how = "it ends already" if status.endswith("IN PROGRESS") else "there is nothing of it to stop"
        super().__init__(f"The {kind} {named} is {status}: {how}.")


class InUseError(PermanentError):
    """A guard refuses: other resources stand in the way.

    Attributes:
        blockers: `(kind, name, id)` of each resource in the way; at most the first 20 are named in the message.
    """

    def __init__(
        self, kind: str, name: str, action: str, blockers: Sequence[tuple[str, str, str]], remedy: str
    ) -> None:
        self.kind, self.name, self.action, self.blockers = kind, name, action, tuple(blockers)
        shown = ", ".join(f"{k} {n} ({i})" for k, n, i in blockers[:20])
        more = f" and {len(blockers) - 20} more" if len(blockers) > 20 else ""
        super().__init__(f"Cannot {action} {kind} {name!r}: {shown}{more} stand in the way. {remedy}")


class BusyError(InUseError):
    """A guard refuses: what the resource itself is doing now stands in the way."""

    def __init__(self, kind: str, name: str, id: str, status: str, action: str, remedy: str) -> None:
        super().__init__(kind, name, action, ((kind, name, id),), remedy)
        self.id, self.status, self.remedy = id, status, remedy
        self.args = (f"Cannot {action} {kind} {name!r} ({id}) while it is {status}. {remedy}",)


class RegistryUnusableError(PermanentError):
    """The database is there, but this program cannot work with it: newer, damaged, read-only, or of somebody else."""

    def __init__(self, where: str, why: str, remedy: str) -> None:
        self.where, self.why, self.remedy = where, why, remedy
        super().__init__(f"The registry {where} cannot be used: {why}. {remedy}")


class LogStoreUnusableError(PermanentError):
    """A file of the log store is damaged, newer than this program, or cannot be opened."""

    def __init__(self, where: str, why: str, remedy: str) -> None:
        self.where, self.why, self.remedy = where, why, remedy
        super().__init__(f"The log store's {where} cannot be used: {why}. {remedy}")


class LogStoreFullError(LogStoreUnusableError):
    """There is no room for more lines today, of one training or of any."""

    def __init__(self, day: str, why: str, remedy: str) -> None:
        super().__init__(day, why, remedy)
        self.args = (f"The log store has no room on {day}: {why}. {remedy}",)


class AccessDeniedError(PermanentError, PermissionError):
    """The account lacks a right on a store."""

    def __init__(self, bucket: str, path: str, right: str, reason: str = "", remedy: str = "") -> None:
        self.bucket, self.path, self.right, self.reason = bucket, path, right, reason
        because = f" ({reason})" if reason else ""
        usual = f"Grant {right} to the account shown by `makerflow connection test`, then try again."
        super().__init__(f"The right to {right} is missing on {path} in {bucket!r}{because}. {remedy or usual}")


class CredentialsRefusedError(AccessDeniedError):
    """A store refuses the credentials themselves, whatever the right that was asked for."""

    def __init__(self, bucket: str, path: str, right: str, reason: str, remedy: str) -> None:
        super().__init__(bucket, path, right, reason)
        self.remedy = remedy
        self.args = (f"The store of {path or bucket} refuses the credentials: {reason}. {remedy}",)


class UnknownStoreError(PermanentError):
    """A path names a NAS, an endpoint or a bucket that this installation does not know."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"{path}: {why}. {remedy}")


class InputMissingError(PermanentError):
    """An input is not, or no longer, there."""

    def __init__(self, path: str, why: str = "it does not exist") -> None:
        self.path, self.why = path, why
        super().__init__(f"{path} cannot be read: {why}. Put it there or correct the path, then run again.")


class InputChangedError(PermanentError):
    """An input changed between planning and staging, or does not have the bytes that its store promised."""

    def __init__(self, path: str, planned: str, found: str) -> None:
        self.path, self.planned, self.found = path, planned, found
        super().__init__(
            f"The input {path} changed after the run was planned (planned: {planned}; found: {found}). "
            "Start a new training to use the new content."
        )


class CapacityError(PermanentError):
    """What was asked for can never fit: the machine, the data storage, a disk."""

    def __init__(self, what: str, asked: str, limit: str, remedy: str) -> None:
        self.what, self.asked, self.limit = what, asked, limit
        super().__init__(f"{what}: {asked} asked for, {limit} available. {remedy}")


class PlaceGoneError(PermanentError):
    """The place of runs on the cluster is gone or going, and with it whatever ran there: nothing is launched there."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(said)


class EnvironmentFailedError(PermanentError):
    """An image's or a requirements.txt's packages could not be installed."""

    def __init__(self, what: str, installer_message: str) -> None:
        self.what, self.installer_message = what, installer_message
        super().__init__(f"{what} could not be installed. The installer says:\n{installer_message}")


class RunFailedError(PermanentError):
    """A run ended without success; the message says why and what to do."""

    def __init__(self, kind: str, name: str, status: str, reason: str) -> None:
        self.kind, self.name, self.status, self.reason = kind, name, status, reason
        super().__init__(f"{kind} {name!r} ended as {status}: {reason}")


def is_transient(error: BaseException) -> bool:
    """Whether trying the same step again may help."""
    return isinstance(error, TransientError)
