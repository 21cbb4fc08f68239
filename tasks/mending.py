"""Mending one thing after the other: what fails for one keeps no other from being mended."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import httpx
from prefect.exceptions import PrefectException
from pydantic import ValidationError

from blocks.domain.errors import MakerflowError
from blocks.upkeep.findings import Finding, Kind

T = TypeVar("T")

TROUBLE = (MakerflowError, OSError, subprocess.SubprocessError, httpx.HTTPError, PrefectException, ValidationError)
"""What may stand in the way of mending one thing."""

WOULD_GO = "would be removed"
"""What a dry run says of scratch."""

NOTHING = ""
"""What a remedy says that found nothing to do any more."""


class Mending:
    """One step's findings.

    Args:
        dry_run: Only say what would be done.
    """

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._findings: list[Finding] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far."""
        return tuple(self._findings)

    def each(self, kind: Kind, id: str, source: Callable[[], Iterable[T]]) -> Iterator[T]:
        """What a source finds; that it cannot look is a finding too."""
        try:
            yield from source()
        except TROUBLE as error:
            self.fail(kind, id, error)

    def mend(self, kind: Kind, id: str, found: str, remedy: Callable[[], str], *, would: str, name: str = "") -> None:
        """Do what the remedy does, which tells what that was; `NOTHING` when others had done it meanwhile.

        A dry run tells instead what it `would` do.
        """
        done, failed = would, False
        if not self.dry_run:
            try:
                done = remedy()
            except TROUBLE as error:
                done, failed = str(error) or type(error).__name__, True
            if done == NOTHING:
                return
        self._add(kind, id, found, done, name=name, failed=failed)

    def leave(self, kind: Kind, id: str, found: str, advice: str, *, name: str = "") -> None:
        """Only somebody else can do something about it: what that is."""
        self._add(kind, id, found, advice, name=name)

    def fail(self, kind: Kind, id: str, error: Exception) -> None:
        """Something could not even be looked at."""
        self._add(kind, id, "It could not be looked at.", str(error), failed=True)

    def _add(self, kind: Kind, id: str, found: str, done: str, *, name: str = "", failed: bool = False) -> None:
        self._findings.append(Finding(kind=kind, id=id, name=name, found=found, done=done, failed=failed))
