"""The command `makerflow` as a user runs it."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deployments.cli import main
from tests.waiting import wait_for

DEADLINE_SECONDS = 120.0
T = TypeVar("T")

WAITS = """
import os, time, urllib.request
while True:
    try:
        urllib.request.urlopen(os.environ["EM_HP_GO"]).close()
        break
    except OSError:
        time.sleep(0.05)
"""
"""A part of entry points: that they wait until `CommandLine.let_go`."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """All of stdout as the one JSON document that it has to be."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class CommandLine:
    """Runs the command on a home of its own.

    Attributes:
        directory: Of the tests; `home` is below it, and commands run in it.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.directory / "home"

    def place(self, name: str) -> str:
        """A path at which entry points find what is put there, and leave what they make."""
        return f"file://{self.directory}/{name}"

    def put(self, name: str, text: str) -> None:
        """Put a file below that path."""
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, name: str) -> str | None:
        """The file there; None when there is none."""
        file = self.directory / name
        return file.read_text() if file.exists() else None

    def go(self, name: str) -> str:
        """A URL that answers, also entry points, from when `name` is let go."""
        return (self.directory / f"{name}.go").as_uri()

    def let_go(self, name: str) -> None:
        """Have those go on that wait for this URL."""
        self.put(f"{name}.go", "")

    def run(self, *arguments: str, stdin: str = "") -> Ended:
        """Run a command to its end, in this process: Prefect, which it imports, takes longer than the command."""
        with pytest.MonkeyPatch.context() as patch, _captured() as (out, err):
            patch.chdir(self.directory)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            for name, value in {"MAKERFLOW_HOME": str(self.home), **self.environment}.items():
                patch.setenv(name, value)
            code = main.run(list(arguments))
        return Ended(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str) -> Ended:
        """Run a command to its end in a process of its own."""
        with self.start(*arguments) as running:
            return running.end()

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The document of a command that has to end with `code`."""
        ended = self.run(*arguments, "--json")
        assert ended.code == code, ended
        return ended.document

    def start(self, *arguments: str) -> "Running":
        """Start a command in a process group of its own, as a terminal would."""
        process = subprocess.Popen(
            self._command(*arguments),
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Running(process)

    def wait_for_status(self, name: str, *statuses: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The training, once it has one of these statuses."""

        def look() -> dict[str, Any] | None:
            ended = self.run("training", "show", name, "--json")
            return ended.document if ended.code == 0 and ended.document["status"] in statuses else None

        return wait_for(look, f"{name} to be {' or '.join(statuses)}", seconds)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "deployments.cli", *arguments]

    def _environment(self) -> dict[str, str]:
        source = {"PYTHONPATH": str(Path(__file__).parents[2])}
        return {**os.environ, **source, "MAKERFLOW_HOME": str(self.home), **self.environment}


class Running:
    """A command under way; ended when its block is left."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def read_until(self, text: str, *, error: bool = False) -> str:
        """What stdout, or stderr, says up to the line with `text`."""
        stream = self._process.stderr if error else self._process.stdout
        assert stream is not None
        lines = []
        for line in stream:
            lines.append(line)
            if text in line:
                return "".join(lines)
        raise AssertionError(f"{text!r} did not come: {''.join(lines)} {self.end()}")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """End it as `kill`, a service manager or a CI job does."""
        self._process.terminate()

    def close_stdout(self) -> None:
        """Stop reading, as `| head` does."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self) -> Ended:
        """Wait for its end; what `read_until` has read is left out."""
        closed = self._process.stdout is None or self._process.stdout.closed
        if closed:
            self._process.stdout = None  # communicate would read it
        out, err = self._process.communicate(timeout=DEADLINE_SECONDS)
        return Ended(self._process.returncode, out or "", err)


@contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What is printed meanwhile, by whatever means; complete at the end."""
    found = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        for number, name, text in ((1, "stdout", found[0]), (2, "stderr", found[1])):
            stack.enter_context(_redirected(number, name, text))
        yield found


@contextmanager
def _redirected(number: int, name: str, text: io.StringIO) -> Iterator[None]:
    before, stream = os.dup(number), getattr(sys, name)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file, pytest.MonkeyPatch.context() as patch:
        os.dup2(file.fileno(), number)
        with os.fdopen(os.dup(number), "w", encoding="utf-8") as redirected:
            patch.setattr(sys, name, redirected)
            try:
                yield
            finally:
                redirected.flush()
                os.dup2(before, number)
                os.close(before)
        file.seek(0)
        text.write(file.read())
    assert getattr(sys, name) is stream
