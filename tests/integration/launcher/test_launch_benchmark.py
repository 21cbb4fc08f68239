"""The short form of the launching benchmark runs, so that the long one will."""

import sys

from blocks.cluster.agent_process import end_host
from tests.benchmarks import bench_launch


def test_the_benchmark_says_what_each_way_of_starting_costs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_launch", "--short"])
    bench_launch.main()
    end_host()
    bare, direct, hosted = capsys.readouterr().out.splitlines()
    assert bare.startswith("bare subprocess")
    for line, kind in ((direct, "started directly"), (hosted, "through the host")):
        assert line.startswith(kind)
        assert "of the bare wall" in line
    assert _cpu(hosted) < _cpu(direct)


def _cpu(line: str) -> float:
    return float(line.partition(" ms CPU a run")[0].rpartition(" ")[2])
