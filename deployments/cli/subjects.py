"""What a command runs, shows and stops: a training or a tuning. What is said of both is written once, over this."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TextIO, TypeVar

if TYPE_CHECKING:
    from blocks.domain.specs import SettingsSpec


class Row(Protocol):
    """What the registry tells of one."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def status(self) -> StrEnum:
        """Where it stands."""

    @property
    def reason(self) -> str:
        """Why it stands there."""

    @property
    def description(self) -> str:
        """What it is for."""

    @property
    def tags(self) -> dict[str, str]:
        """Its labels."""


RowT = TypeVar("RowT", bound=Row)
RowT_contra = TypeVar("RowT_contra", bound=Row, contravariant=True)


class Display(Protocol[RowT_contra]):
    """Where it is shown. Called from several threads; a reader that has gone silences it."""

    def status(self, row: RowT_contra) -> None:
        """Where it stands."""

    def note(self, message: str) -> None:
        """A message of ours."""

    def close(self) -> None:
        """Show nothing any more; twice is fine."""


class Subject(ABC, Generic[RowT]):
    """One kind of what is run.

    Attributes:
        kind: Its word, which is also the command that shows and lists it.
        kept: What of it outlives a stop.
    """

    kind: ClassVar[str]
    kept: ClassVar[str]

    @abstractmethod
    def get(self, key: str) -> RowT:
        """The row of a name or an id.

        Raises:
            NotFoundError: There is none.
        """

    @abstractmethod
    def current_spec(self, key: str) -> "SettingsSpec":
        """The settings that it has now, by its name or id.

        Raises:
            NotFoundError: There is none.
        """

    @abstractmethod
    def free_name(self, base: str) -> str:
        """`base`, or the first of `base-2`, `base-3`, ... that nobody has."""

    @abstractmethod
    def creator(self, *, take_up: bool) -> Callable[..., Any]:
        """What creates it from a spec, and with `wait=False` leaves it to others; importing it takes a while.

        Args:
            take_up: Whether it may go on with one of this name that nobody follows.
        """

    @abstractmethod
    def change(self, id: str, description: str | None, tags: Mapping[str, str] | None) -> RowT:
        """Write another description or other tags, all of them; None leaves as it is.

        Raises:
            MakerflowError: They are refused.
        """

    @abstractmethod
    def stop(self, id: str) -> None:
        """Stop it.

        Raises:
            MakerflowError: It cannot be stopped.
        """

    @abstractmethod
    def leave(self, id: str) -> None:
        """Let a process of its own follow it once this one has ended."""

    @abstractmethod
    def shown(
        self, find: Callable[[], RowT | None], stream: TextIO, name: str, *, in_full: bool
    ) -> AbstractContextManager[tuple[Display[RowT], AbstractContextManager[object]]]:
        """A display on a stream, and what lets it show how it goes for as long as its own block lasts.

        Args:
            find: The row; None as long as there is none.
            stream: Where it is shown.
            name: The name.
            in_full: Whether plain lines also tell what the document at the end does not.
        """

    @abstractmethod
    def summary(self, row: RowT) -> dict[str, Any]:
        """Its document, as a list has it."""

    @abstractmethod
    def document(self, row: RowT) -> dict[str, Any]:
        """Its document, whole."""

    @abstractmethod
    def write_ending(self, row: RowT) -> None:
        """Print how it ended."""
