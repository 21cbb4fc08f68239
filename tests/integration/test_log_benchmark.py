"""The short form of the log store's benchmark runs, so that the long one will, and queries stay within their target."""

from pathlib import Path

import pytest

from tests.benchmarks import bench_log_management, bench_logs


@pytest.mark.req("LOG-01")
def test_every_query_of_the_benchmark_is_answered_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_logs.measure_store(tmp_path, bench_logs.SHORT_LINES)
    said = capsys.readouterr().out
    assert said.count(" ms ") > len(bench_logs.QUERIES)
    slowest = said.rpartition("slowest query: ")[2]
    assert float(slowest.partition(" ms")[0]) < 200


@pytest.mark.parametrize("kind", bench_log_management.TRAIN)
def test_the_benchmark_s_training_keeps_every_line(home: Path, tmp_path: Path, kind: str) -> None:
    inner, whole = bench_log_management.train(tmp_path, kind, "kept", 500, kept=True)
    assert 0 < inner < whole
