"""What is copied into the user's container runs in any Python from 3.8 on, with nothing but its standard library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.launcher import accounting, pod_gpus, pod_installer, pod_stage, pod_supervisor, pod_volume, supervisor

PROGRAMS = [
    Path(str(module.__file__))
    for module in (supervisor, pod_supervisor, pod_installer, pod_volume, accounting, pod_gpus)
]


def test_these_are_the_programs_that_are_copied():
    assert {file.name for file in PROGRAMS} == set(pod_stage._PROGRAMS)


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.name)
def test_it_compiles_for_the_oldest_python(file):
    ast.parse(file.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.name)
def test_it_imports_the_standard_library_and_its_neighbours_alone(file):
    allowed = set(sys.stdlib_module_names) | {each.stem for each in PROGRAMS}
    assert imported(ast.parse(file.read_text())) <= allowed


def imported(tree: ast.AST) -> set[str]:
    """The names of the modules that it imports as a program, not as part of the package or for a type checker."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "__package__"):
        return {name for each in tree.orelse for name in imported(each)}
    names = {alias.name.split(".")[0] for alias in tree.names} if isinstance(tree, ast.Import) else set()
    names |= {str(tree.module).split(".")[0]} if isinstance(tree, ast.ImportFrom) else set()
    return names | {name for child in ast.iter_child_nodes(tree) for name in imported(child)}


def test_it_starts_in_a_python_without_ctypes():
    program = "import sys; sys.modules['_ctypes'] = None; import pod_supervisor; print(pod_supervisor.Gpus().use())"
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROGRAMS[0].parent, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("None\n", 0), ran.stderr
