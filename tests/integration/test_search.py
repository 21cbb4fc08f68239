"""What of the search needs seconds: importances, and the short form of the benchmark, so that the long one will run."""

import sys

import optuna
import pytest
from pydantic import TypeAdapter

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.parameters import Parameters
from blocks.domain.tunings import ObjectiveType, Sampler, Strategy
from blocks.search.base import PastTrial
from blocks.search.sampling import SampledSearch
from tests.benchmarks import bench_search
from tests.doubles.studies import study_with


def test_the_short_benchmark_reports_its_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_search", "--short"])
    monkeypatch.setattr(bench_search, "SHORT", bench_search.Load(2, 12, (20, 50), 3))
    bench_search.main()
    assert capsys.readouterr().out.count("of it") == len(bench_search.FUNCTIONS) + 4


@pytest.mark.req("TUN-13")
def test_optuna_tells_the_importances_of_a_tuning_s_parameters() -> None:
    texts = ["x=DOUBLE[-1,1]", "y=DOUBLE[1e-4,1,log]", "k=INT[1,9,step=2]", "kind=CATEGORICAL[a,b]", "only=INT[3,3]"]
    space = TypeAdapter(Parameters).validate_python(texts)
    search = SampledSearch(space, Strategy.RANDOM, Sampler.TPE, ObjectiveType.MINIMIZE, 1)
    past = []
    for number in range(1, 61):
        point = search.suggest(number)
        assert point is not None
        status = TrialStatus.SUCCEEDED if number % 5 else TrialStatus.FAILED
        past.append(PastTrial(number, point, status, float(point["x"]) ** 2 * 100 + float(point["y"])))
    importances = optuna.importance.get_param_importances(study_with(ObjectiveType.MINIMIZE, space, past))
    assert set(importances) == {"x", "y", "k", "kind", "only"}
    assert next(iter(importances)) == "x"
