"""The short form of the tuning's benchmark runs, so that the long one will."""

from pathlib import Path

import pytest

from tests.benchmarks import bench_tuning


def test_the_benchmark_measures_trials_beside_a_bare_loop_and_the_last_ones_beside_the_first(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench_tuning.overhead(tmp_path, "print", bench_tuning.PRINTS, 3, with_ray=False)
    bench_tuning.many(tmp_path, 8)
    said = capsys.readouterr().out
    assert "print: 3 trials, 2 at once: ours" in said
    assert "8 trials: " in said
    assert said.count("ratio") == 2
