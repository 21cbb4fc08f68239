import inspect
import pickle
import re

import pytest

from blocks.domain import errors
from blocks.domain.errors import (
    InUseError,
    MakerflowError,
    NotFoundError,
    PermanentError,
    TransientError,
    is_transient,
)
from deployments.cli import main

LEAVES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, MakerflowError) and kind not in (MakerflowError, TransientError, PermanentError)
]


def _made(kind: type[MakerflowError]) -> MakerflowError:
    parameters = list(inspect.signature(kind).parameters)
    facts = {
        name: [("training", "t", "id-1")] if name in ("allowed", "blockers") else f"<{name}>" for name in parameters
    }
    facts |= {"allowed": ["RUNNING"]} if "allowed" in facts else {}
    return kind(**facts)


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_says_its_facts_and_keeps_them_also_when_it_is_pickled(kind):
    error = _made(kind)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes of our own
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert str(error).endswith((".", ">"))


@pytest.mark.parametrize("kind", LEAVES)
def test_an_error_is_either_transient_or_permanent(kind):
    assert issubclass(kind, TransientError) != issubclass(kind, PermanentError)
    assert is_transient(_made(kind)) == issubclass(kind, TransientError)


@pytest.mark.parametrize("kind", ["experiment", "training", "template", "connection", "metric", "run"])
def test_a_command_is_advised_for_what_is_missing_only_when_there_is_one(kind, capsys):
    advised = re.findall(r"`makerflow ([^`]+)`", str(NotFoundError(kind, "x")))
    assert len(advised) == (kind != "run")
    for command in advised:
        assert main.run([*command.split(), "--help"]) == 0
        assert f"makerflow {command}" in capsys.readouterr().out


def test_the_tree_at_the_top_of_the_module_is_the_tree():
    for kind in LEAVES:
        assert f"── {kind.__name__}" in errors.__doc__


def test_a_guard_names_twenty_blockers_and_counts_the_rest():
    blockers = [("training", f"t{n}", f"id-{n}") for n in range(23)]
    error = InUseError("experiment", "e", "delete", blockers, "Delete them first.")
    assert "training t19 (id-19) and 3 more stand in the way" in str(error)
    assert len(error.blockers) == 23
