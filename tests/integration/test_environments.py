import fcntl
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from blocks.domain.errors import EnvironmentFailedError
from blocks.domain.plan import RunImage
from blocks.launcher import environments, installers
from blocks.launcher.environments import ensure_environment
from blocks.launcher.interpreters import base_interpreter
from blocks.launcher.recipes import Recipe
from tests.waiting import wait_for

T = TypeVar("T")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
BACKEND_THAT_LOOKS_AROUND = """
import os
def get_requires_for_build_wheel(config_settings=None):
    raise SystemExit(f"run {os.environ['MAKERFLOW_RUN']} secret {os.environ.get('AWS_SECRET_ACCESS_KEY')}")
"""
BACKEND_THAT_NEVER_ENDS = """
import pathlib, time
def get_requires_for_build_wheel(config_settings=None):
    pathlib.Path("/proc/self/comm").write_text("backend")
    time.sleep(600)
"""
PROJECT_OF_THAT_BACKEND = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "x"
version = "1"
"""
BUILDER = f"""
import sys
from pathlib import Path
from blocks.domain.plan import RunImage
from blocks.launcher.environments import ensure_environment
image = RunImage(name="python", python={VERSION!r})
print(ensure_environment(image, Path(sys.argv[1]), Path(sys.argv[2]), sys.stderr))
"""
BUILDERS = 3
BUILDER_THAT_LIVES_ON = f"""
import sys, time
from pathlib import Path
from blocks.launcher import environments
is_complete, me, others = environments._is_complete, Path(sys.argv[3]), Path(sys.argv[3]).parent
def look_together(directory):
    me.touch()
    while len(list(others.iterdir())) < {BUILDERS}:
        time.sleep(0.01)
    return is_complete(directory)
environments._is_complete = look_together
{BUILDER}
sys.stdout.flush()
sys.stdin.read()
"""
BARE = RunImage(name="python", python=VERSION)


def make_wheel(folder: Path, name: str, version: str, *, requires: str = "") -> None:
    """A wheel of one module, `{name}.py`, that knows its version."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only packages there are: pip is told so, and uv is told what pip is told."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        make_wheel(folder, "apples", version)
    make_wheel(folder, "pears", "1.0", requires="apples")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made_by_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that was built without uv, with pip and apples in it."""
    if "True" not in run(base_interpreter(), "import importlib.util as u; print(u.find_spec('ensurepip') is not None)"):
        pytest.skip("this Python has no ensurepip (Debian: apt-get install python3-venv)")
    folder = tmp_path_factory.mktemp("pip")
    make_wheel(folder / "wheels", "apples", "1.0")
    (folder / "requirements.txt").write_text("apples==1.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
        patch.setattr(environments, "find_uv", lambda: None)
        return ensure(BARE, folder / "requirements.txt", folder / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def requirements(source: Path, text: str) -> Path:
    file = source / "requirements.txt"
    file.write_text(text)
    return file


def run(interpreter: Path, program: str) -> str:
    answer = subprocess.run([interpreter, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return (answer.stdout + answer.stderr).strip()


def ensure(image: RunImage, file: Path | None, cache: Path) -> Path:
    return ensure_environment(image, file, cache, io.StringIO())


@pytest.mark.req("TRN-03")
def test_requirements_are_installed_on_top_of_the_image(cache: Path, source: Path) -> None:
    image = RunImage(name="fruit", python=VERSION, requirements=("apples==1.0",))
    interpreter = ensure(image, requirements(source, "pears\n"), cache)
    assert run(interpreter, "import apples, pears; print(apples.version, pears.version)") == "1.0 1.0"


@pytest.mark.req("TRN-03")
def test_requirements_may_replace_a_package_of_the_image(cache: Path, source: Path) -> None:
    image = RunImage(name="fruit", python=VERSION, requirements=("apples==1.0",))
    interpreter = ensure(image, requirements(source, "apples>=2\n"), cache)
    assert run(interpreter, "import apples; print(apples.version)") == "2.0"


def test_the_second_run_with_the_same_requirements_builds_nothing(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = requirements(source, "apples\n")
    first = ensure(BARE, file, cache)
    monkeypatch.delattr(Recipe, "build")
    assert ensure(BARE, file, cache) == first


def test_other_requirements_make_another_environment(cache: Path, source: Path) -> None:
    first = ensure(BARE, requirements(source, "apples==1.0\n"), cache)
    second = ensure(BARE, requirements(source, "apples==2.0\n"), cache)
    assert (run(first, "import apples; print(apples.version)"), first == second) == ("1.0", False)


def test_a_bare_environment_sees_nothing_of_ours(cache: Path) -> None:
    assert "No module named 'pydantic'" in run(ensure(BARE, None, cache), "import pydantic")


@pytest.mark.req("TRN-03")
def test_a_failing_install_raises_the_installers_message(cache: Path, source: Path) -> None:
    log = io.StringIO()
    with pytest.raises(EnvironmentFailedError, match="apples==3") as caught:
        ensure_environment(BARE, requirements(source, "apples==3.0\n"), cache, log)
    assert caught.value.what == "requirements.txt"
    assert caught.value.installer_message in log.getvalue()
    assert str(cache) not in caught.value.installer_message
    assert not list((cache / "environments").glob("*/bin"))


def test_a_failed_install_is_tried_again(cache: Path, source: Path, wheels: Path) -> None:
    file = requirements(source, "plums\n")
    with pytest.raises(EnvironmentFailedError):
        ensure(BARE, file, cache)
    make_wheel(wheels, "plums", "1.0")
    assert run(ensure(BARE, file, cache), "import plums; print(plums.version)") == "1.0"


def test_credentials_in_the_address_of_an_index_are_not_repeated(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    log = io.StringIO()
    text = "--index-url http://joe:hunter2@127.0.0.1:9/simple\nnonesuch\n"
    with pytest.raises(EnvironmentFailedError) as caught:
        ensure_environment(BARE, requirements(source, text), cache, log)
    assert "127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value) + log.getvalue()


def test_an_install_does_not_get_the_credentials_of_the_agent(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("MAKERFLOW_RUN", "/runs/7")
    (source / "backend.py").write_text(BACKEND_THAT_LOOKS_AROUND)
    (source / "pyproject.toml").write_text(PROJECT_OF_THAT_BACKEND)
    with pytest.raises(EnvironmentFailedError, match="run /runs/7 secret None"):
        ensure(BARE, requirements(source, ".\n"), cache)


def test_what_requirements_refer_to_beside_them_counts_and_is_not_written_to(
    cache: Path, source: Path, wheels: Path
) -> None:
    file = requirements(source, "-r more.txt\n")
    (source / "more.txt").write_text("apples==1.0  # pinned\n")
    first = ensure(BARE, file, cache)
    (source / "more.txt").write_text("apples==2.0\n")
    second = ensure(BARE, file, cache)
    found = [run(interpreter, "import apples; print(apples.version)") for interpreter in (first, second)]
    assert found == ["1.0", "2.0"]
    assert sorted(path.name for path in source.iterdir()) == ["more.txt", "requirements.txt"]


@pytest.mark.parametrize(
    ("line", "local"),
    [
        ("numpy", False),
        ("numpy[all]>=2,<3 ; python_version > '3.8'", False),
        ("numpy  # -r x.txt", False),
        ("# -r x.txt", False),
        ("--index-url https://host/simple", False),
        ("name @ https://host/x.whl", False),
        ("-e git+https://host/x.git#egg=x", False),
        ("-r more.txt", True),
        ("-e .", True),
        ("./wheels/x.whl", True),
        ("x.whl", True),
        ("name @ file:///x.whl", True),
        ("--find-links wheels", True),
    ],
)
def test_a_line_that_names_a_file_of_the_user_is_recognised(cache: Path, source: Path, line: str, local: bool) -> None:
    file = requirements(source, f"{line}\n")
    before = Recipe(BARE, file).key
    (source / "changed.py").write_text("x = 1\n")
    assert (Recipe(BARE, file).key != before) is local


def _build(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_builders_at_the_same_time_build_once(cache: Path, source: Path) -> None:
    file = requirements(source, "apples==1.0\n")
    commands = [[sys.executable, "-c", BUILDER, str(file), str(cache)]] * 4
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(_build, commands))
    assert len({answer.stdout for answer in answers}) == 1
    assert sum("+ apples==1.0" in answer.stderr for answer in answers) == 1


def test_a_builder_that_lives_on_keeps_no_other_one_waiting(cache: Path, source: Path, tmp_path: Path) -> None:
    file = requirements(source, "apples==1.0\n")
    places = [tmp_path / "looking" / str(number) for number in range(BUILDERS)]
    places[0].parent.mkdir()
    commands = [[sys.executable, "-c", BUILDER_THAT_LIVES_ON, str(file), str(cache), str(place)] for place in places]
    with ExitStack() as stack:
        builders = [stack.enter_context(_living(command)) for command in commands]
        pool = stack.enter_context(ThreadPoolExecutor(BUILDERS))
        for builder in builders:
            stack.callback(builder.kill)
        answers = [pool.submit(_first_line, builder) for builder in builders]
        assert len({answer.result(60) for answer in answers}) == 1


def _living(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_an_environment_in_use_whose_interpreter_went_is_not_waited_for(cache: Path, source: Path) -> None:
    file = requirements(source, "apples==1.0\n")
    used = ensure(BARE, file, cache)
    used.parent.chmod(0o755)
    used.unlink()
    assert run(ensure(BARE, file, cache), "import apples; print(apples.version)") == "1.0"


@contextmanager
def slow_build(cache: Path, source: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[psutil.Process]]]:
    """A process that builds an environment, and what it started for that, which never ends."""
    (source / "backend.py").write_text(BACKEND_THAT_NEVER_ENDS)
    (source / "pyproject.toml").write_text(PROJECT_OF_THAT_BACKEND)
    command = [sys.executable, "-c", BUILDER, str(requirements(source, ".\n")), str(cache)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as builder:
        started = wait_for(lambda: _installer_of(builder))
        yield builder, started
        builder.kill()
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _installer_of(builder: "subprocess.Popen[bytes]") -> list[psutil.Process] | None:
    """All processes below it, once the package's build is among them: it gives itself a name."""
    with suppress(psutil.Error):
        below = psutil.Process(builder.pid).children(recursive=True)
        if any(process.name() == "backend" for process in below):
            return below
    return None


def test_an_interrupted_build_ends_what_it_started(cache: Path, source: Path) -> None:
    with slow_build(cache, source) as (builder, started):
        builder.send_signal(signal.SIGINT)
        builder.wait(30)
        psutil.wait_procs(started, timeout=30)
        assert not any(process.is_running() for process in started)
    assert not list((cache / "environments").glob("*/bin"))


def test_a_build_waits_for_what_a_killed_one_left_running(cache: Path, source: Path) -> None:
    with slow_build(cache, source) as (builder, _):
        builder.kill()
        builder.wait(30)
        (directory,) = (path for path in (cache / "environments").iterdir() if path.is_dir())
        with pytest.raises(BlockingIOError), (directory.with_name(directory.name + ".lock")).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_an_installer_that_somebody_else_collected_is_no_success(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collected(pid: int, options: int) -> tuple[int, int]:
        os.waitid(os.P_PID, pid, os.WEXITED)
        raise ChildProcessError

    monkeypatch.setattr(installers.os, "waitpid", collected)
    with pytest.raises(EnvironmentFailedError, match="ended with -9"):
        ensure(BARE, requirements(source, "apples\n"), cache)


def test_an_interrupted_build_is_done_again(cache: Path, source: Path) -> None:
    file = requirements(source, "apples==1.0\n")
    interpreter = ensure(BARE, file, cache)
    directory = interpreter.parent.parent
    (directory / environments.MARKER).unlink()
    (directory / "bin" / "python").unlink()
    environments._held.clear()  # what follows is another process
    for lock in _locks_of(directory):
        os.close(lock)
    assert run(ensure(BARE, file, cache), "import apples; print(apples.version)") == "1.0"


def _locks_of(directory: Path) -> list[int]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == directory.with_name(directory.name + ".lock"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_an_environment_that_was_changed_is_not_used_again(cache: Path, source: Path) -> None:
    file = requirements(source, "apples==1.0\n")
    first = ensure(BARE, file, cache)
    (site,) = first.parent.parent.glob("lib/python*/site-packages")
    site.chmod(0o755)
    (site / "intruder.py").write_text("")
    second = ensure(BARE, file, cache)
    assert second != first
    assert "No module named 'intruder'" in run(second, "import apples, intruder")


def test_files_are_read_only_and_bytecode_is_kept(cache: Path, source: Path) -> None:
    interpreter = ensure(BARE, requirements(source, "apples==1.0\n"), cache)
    (site,) = interpreter.parent.parent.glob("lib/python*/site-packages")
    assert (site.stat().st_mode & 0o222, (site / "apples.py").stat().st_mode & 0o222) == (0, 0)
    run(interpreter, "import apples")
    assert len(list((site / "__pycache__").glob("apples.*.pyc"))) == 1
    assert ensure(BARE, source / "requirements.txt", cache) == interpreter


def test_the_longest_unused_goes_first_and_none_in_use(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = ensure(BARE, requirements(source, "apples==1.0\n"), cache)
    idle = ensure(BARE, requirements(source, "apples==2.0\n"), cache)
    for lock in _locks_of(idle.parent.parent):
        os.close(lock)
    monkeypatch.setattr(environments, "KEPT", 1)
    latest = ensure(BARE, requirements(source, "pears\n"), cache)
    assert [path.exists() for path in (used, idle, latest)] == [True, False, True]


def test_one_that_another_agent_removes_at_the_same_time_is_no_hindrance(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "environments").mkdir(parents=True)
    (cache / "environments" / "gone-0.lock").symlink_to("nowhere")  # listed, and not there when it is looked at
    monkeypatch.setattr(environments, "KEPT", 0)
    assert ensure(BARE, requirements(source, "apples\n"), cache).exists()


def test_an_interpreter_of_the_users_is_taken_as_it_is(cache: Path) -> None:
    image = RunImage(name="mine", python=str(base_interpreter()))
    assert ensure(image, None, cache) == base_interpreter()


def test_packages_come_on_top_of_those_of_the_users_interpreter(made_by_pip: Path, cache: Path, source: Path) -> None:
    image = RunImage(name="mine", python=str(made_by_pip))
    interpreter = ensure(image, requirements(source, "pears\n"), cache)
    assert run(interpreter, "import pears, apples; print(apples.__file__)").startswith(str(made_by_pip.parent.parent))


def test_a_missing_interpreter_of_the_users_is_named(cache: Path) -> None:
    with pytest.raises(EnvironmentFailedError, match="/nowhere/python"):
        ensure(RunImage(name="mine", python="/nowhere/python"), None, cache)


def test_a_python_that_is_not_there_names_those_that_are(cache: Path) -> None:
    with pytest.raises(EnvironmentFailedError, match=rf"no interpreter of Python 3\.99 .*{VERSION}"):
        ensure(RunImage(name="future", python="3.99"), None, cache)


def test_pip_serves_where_uv_is_missing(made_by_pip: Path) -> None:
    assert run(made_by_pip, "import apples; print(apples.version)") == "1.0"
