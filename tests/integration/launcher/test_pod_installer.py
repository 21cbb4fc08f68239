"""The installer of a pod, with a real pip."""

import subprocess
import sys
from pathlib import Path

from blocks.launcher import pod_installer


def test_its_last_line_names_the_index_without_credentials(tmp_path):
    (tmp_path / "requirements.txt").write_text("no-such-package-of-anybody==1.0\n")
    index = "http://me:secret@127.0.0.1:9/simple"
    done = subprocess.run(
        [sys.executable, "-I", str(pod_installer.__file__), str(tmp_path / "packages")],
        cwd=tmp_path,
        env={"PIP_INDEX_URL": index, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "1", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "secret" not in done.stdout
    assert "pip asked http://***@127.0.0.1:9/simple and got no answer" in done.stdout.splitlines()[-1]


def test_an_image_that_has_everything_needs_no_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pod_installer.py", str(tmp_path / "packages")])
    monkeypatch.setattr(pod_installer.signal, "signal", lambda *_: None)
    Path("requirements.txt").write_text("pytest\n")
    assert pod_installer.main() == 0
    assert not Path("packages").exists()
