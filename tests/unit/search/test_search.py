import itertools
import math
import sys
import time
import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from pydantic import TypeAdapter

from blocks.domain.lifecycle import TrialStatus
from blocks.domain.parameters import Parameters, ParameterSpec
from blocks.domain.tunings import ObjectiveType, Sampler, Strategy, TuningSpec
from blocks.search.base import PastTrial, Search
from blocks.search.grid import GridSearch
from blocks.search.open import open_search
from blocks.search.sampling import SampledSearch
from blocks.search.study import STATUS, distribution, frozen, text_of, value_of
from tests.doubles.studies import study_with

SUCCEEDED, FAILED, KILLED = TrialStatus.SUCCEEDED, TrialStatus.FAILED, TrialStatus.KILLED
EVERYTHING = (
    "lr=DOUBLE[1e-4,1e-1,log]",
    "drop=DOUBLE[0.1,0.7,step=0.2]",
    "scale=DOUBLE[-1,1]",
    "decay=DOUBLE[1e-6,1,log,step=10]",
    "units=INT[1,1000,log]",
    "layers=INT[1,10,step=3]",
    "power=INT[1,1024,log,step=2]",
    "batch=DISCRETE[16,32,64.0]",
    "kind=CATEGORICAL[adam,sgd,a b,ü]",
    "only=INT[3,3]",
    "one=CATEGORICAL[x]",
)
KINDS = [
    pytest.param(Strategy.RANDOM, Sampler.TPE, id="RANDOM"),
    pytest.param(Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, id="TPE"),
    pytest.param(Strategy.BAYESIAN_OPTIMIZATION, Sampler.INDEPENDENT_TPE, id="INDEPENDENT_TPE"),
]


def space(*texts: str) -> tuple[ParameterSpec, ...]:
    return TypeAdapter(Parameters).validate_python(list(texts or EVERYTHING))


def search(strategy, sampler=Sampler.TPE, *texts, state=7, kind=ObjectiveType.MINIMIZE) -> SampledSearch:
    return SampledSearch(space(*texts), strategy, sampler, kind, state)


def objective(point: dict[str, str]) -> float:
    """Of any point: something to learn."""
    return sum(len(text) + (abs(float(text)) if text[0].isdigit() else 0) for text in point.values())


def ended(number: int, point: dict[str, str]) -> PastTrial:
    """As trial `number` ends: most succeed, some in each other way."""
    value = objective(point)
    if number % 7 == 3:
        return PastTrial(number, point, TrialStatus.EARLY_STOPPED, value, {1: value + 1, 2: value})
    if number % 7 == 5:
        return PastTrial(number, point, FAILED if number % 2 else TrialStatus.METRICS_UNAVAILABLE)
    return PastTrial(number, point, SUCCEEDED, value, {1: value})


def run(made: Search, numbers) -> list[PastTrial]:
    past = []
    for number in numbers:
        point = made.suggest(number)
        made.tell(PastTrial(number, point, TrialStatus.RUNNING))
        past.append(ended(number, point))
        made.tell(past[-1])
    return past


@pytest.mark.req("TUN-02", "TUN-08")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
def test_every_suggestion_is_a_point_of_the_space_and_reads_the_same_again(strategy, sampler):
    parameters = space()
    for trial in run(search(strategy, sampler), range(1, 18)):
        assert list(trial.parameters) == [one.name for one in parameters]
        for one in parameters:
            text = trial.parameters[one.name]
            assert one.holds(text)
            assert text_of(one, value_of(one, text)) == text
            if one.size() is not None and one.size() < 100:
                assert text in [one.member(number) for number in range(one.size())]


@pytest.mark.req("TUN-08")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
def test_the_same_random_state_gives_the_same_points_and_another_one_others(strategy, sampler):
    first, same, other = (run(search(strategy, sampler, state=state), range(1, 17)) for state in (7, 7, 8))
    assert first == same
    assert all(one.parameters != two.parameters for one, two in zip(first, other, strict=True))


@pytest.mark.req("TUN-08", "TUN-17")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_a_search_that_is_made_anew_at_any_point_goes_on_as_if_it_had_never_been_away(strategy, sampler, order):
    undisturbed = run(search(strategy, sampler), range(1, 17))
    for killed in range(17):
        again = search(strategy, sampler)
        for trial in undisturbed[:killed][::order]:
            again.tell(trial)
        assert run(again, range(killed + 1, min(killed + 3, 17))) == undisturbed[killed : killed + 2]


@pytest.mark.req("TUN-08", "TUN-17")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
def test_also_when_all_points_of_the_space_were_tried(strategy, sampler):
    texts = ("a=INT[1,3]", "b=CATEGORICAL[x,y]")
    undisturbed = run(search(strategy, sampler, *texts), range(1, 13))
    for killed in range(4, 12):
        again = search(strategy, sampler, *texts)
        for trial in undisturbed[:killed]:
            again.tell(trial)
        assert run(again, range(killed + 1, 13)) == undisturbed[killed:]


@pytest.mark.req("TUN-08", "TUN-17")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
@pytest.mark.parametrize("status", [TrialStatus.CREATED, TrialStatus.RUNNING, KILLED])
def test_a_trial_that_was_killed_with_its_tuning_runs_again_at_its_point_and_changes_nothing(strategy, sampler, status):
    undisturbed = run(search(strategy, sampler), range(1, 18))
    again = search(strategy, sampler)
    for trial in undisturbed[:14]:
        again.tell(trial)
    again.tell(PastTrial(15, undisturbed[14].parameters, status))
    assert again.suggest(15) == undisturbed[14].parameters
    again.tell(PastTrial(15, undisturbed[14].parameters, TrialStatus.CREATED))
    again.tell(PastTrial(15, undisturbed[14].parameters, TrialStatus.RUNNING))
    again.tell(undisturbed[14])
    assert run(again, range(16, 18)) == undisturbed[15:]


@pytest.mark.req("TUN-08")
def test_the_last_word_about_a_trial_counts_also_within_one_search():
    """It was killed, the tuning went on in the same process, and then it succeeded."""
    strategy = Strategy.BAYESIAN_OPTIMIZATION
    past = run(search(strategy), range(1, 16))
    straight, turned = search(strategy), search(strategy)
    for trial in past:
        straight.tell(trial)
        turned.tell(PastTrial(trial.number, trial.parameters, KILLED))
    assert straight.suggest(16) != turned.suggest(16)
    for trial in past:
        turned.tell(trial)
        turned.tell(trial)
    straight.tell(PastTrial(16, straight.suggest(16), SUCCEEDED, 1.0))
    turned.tell(PastTrial(16, straight.suggest(16), SUCCEEDED, 1.0))
    assert straight.suggest(17) == turned.suggest(17)


@pytest.mark.req("TUN-08")
def test_trials_that_overlap_give_the_same_points_however_they_are_told_between_two_suggestions():
    def overlapping(order):
        made, points = search(Strategy.BAYESIAN_OPTIMIZATION), []
        for number in range(1, 19, 2):
            pair = [(one, made.suggest(one)) for one in (number, number + 1)]
            points += [point for _, point in pair]
            for one, point in pair[::order]:
                made.tell(ended(one, point))
        return points

    assert overlapping(1) == overlapping(-1)


@pytest.mark.req("TUN-08")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
def test_trials_that_run_at_once_never_get_the_same_point(strategy, sampler):
    texts = ("a=INT[1,4]", "b=DOUBLE[0,1,0.5]", "c=CATEGORICAL[x,y]")
    made, running, points = search(strategy, sampler, *texts), [], []
    for number in range(1, 25):
        point = made.suggest(number)
        running.append((number, point))
        points.append(tuple(point.values()))
        if len(running) == 4:
            made.tell(ended(*running.pop(number % 4)))
    assert len(set(points)) == 24 == 4 * 3 * 2


@pytest.mark.req("TUN-08")
@pytest.mark.parametrize(("strategy", "sampler"), KINDS)
@pytest.mark.parametrize(
    ("texts", "size"),
    [
        (("a=INT[3,3]",), 1),
        (("a=CATEGORICAL[x,y]",), 2),
        (("a=INT[1,5,log]", "b=DISCRETE[1,2.0]"), 10),
        (("a=DOUBLE[1e-3,1,log,step=10]", "b=INT[2,16,log,step=2]", "c=INT[7,7]"), 16),
    ],
)
def test_a_small_space_is_gone_through_before_a_point_comes_again(strategy, sampler, texts, size):
    trials = run(search(strategy, sampler, *texts), range(1, size + 6))
    points = [tuple(trial.parameters.values()) for trial in trials]
    assert len(set(points[:size])) == size
    assert len(set(points)) == size


@pytest.mark.req("TUN-08")
def test_hundreds_of_points_are_found_to_the_last_one_without_searching_long():
    made = search(Strategy.RANDOM, Sampler.TPE, "a=INT[1,20]", "b=INT[1,20]")
    began = time.thread_time()
    assert len({tuple(trial.parameters.values()) for trial in run(made, range(1, 401))}) == 400
    assert time.thread_time() - began < 5


@pytest.mark.req("TUN-08")
def test_points_of_another_tuning_are_learned_from_and_not_tried_again():
    texts = ("a=INT[1,4]", "b=CATEGORICAL[x,y]")
    earlier = [PastTrial(0, {"a": f"{a}.0", "b": b}, SUCCEEDED, float(a)) for a in (1, 2, 3) for b in "xy"]
    made = search(Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, *texts)
    for trial in (*earlier, *earlier):
        made.tell(trial)
    assert sorted(tuple(trial.parameters.values()) for trial in run(made, (1, 2))) == [("4", "x"), ("4", "y")]


@pytest.mark.req("TUN-08")
def test_points_of_another_tuning_may_lie_between_the_steps():
    texts = ("a=DOUBLE[0,1,0.25]", "b=INT[0,10,step=5]", "c=DOUBLE[1,1000,log,step=10]", "d=INT[1,100,log,step=10]")
    made = search(Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, *texts)
    for number in range(1, 13):
        point = {"a": f"0.{number}", "b": str(number % 10), "c": str(number), "d": str(number)}
        made.tell(PastTrial(0, point, SUCCEEDED, float(number)))
    for trial in run(made, range(1, 5)):
        assert trial.parameters["b"] in ("0", "5", "10")


@pytest.mark.req("TUN-08")
def test_a_search_learns_where_the_best_points_are():
    def quality(strategy, sampler, kind, sign):
        made = search(strategy, sampler, "x=DOUBLE[-10,10]", "y=DOUBLE[1e-4,1,log]", kind=kind)
        values = []
        for number in range(1, 31):
            point = made.suggest(number)
            value = (float(point["x"]) - 3) ** 2 + (math.log10(float(point["y"])) + 2) ** 2
            values.append(value)
            made.tell(PastTrial(number, point, SUCCEEDED, sign * value))
        return sorted(values[10:])[10]

    chance = quality(Strategy.RANDOM, Sampler.TPE, ObjectiveType.MINIMIZE, 1)
    for sampler in Sampler:
        for kind, sign in ((ObjectiveType.MINIMIZE, 1), (ObjectiveType.MAXIMIZE, -1)):
            assert quality(Strategy.BAYESIAN_OPTIMIZATION, sampler, kind, sign) < chance / 2


@pytest.mark.req("TUN-08")
def test_tpe_takes_parameters_together_and_independent_tpe_each_by_itself():
    together, apart = (run(search(Strategy.BAYESIAN_OPTIMIZATION, sampler), range(1, 17)) for sampler in Sampler)
    assert together[:10] == apart[:10]
    assert together[-1] != apart[-1]


@pytest.mark.req("TUN-09", "TUN-13")
@pytest.mark.parametrize(
    ("status", "state"),
    [
        (TrialStatus.CREATED, TrialState.RUNNING),
        (TrialStatus.RUNNING, TrialState.RUNNING),
        (TrialStatus.SUCCEEDED, TrialState.COMPLETE),
        (TrialStatus.EARLY_STOPPED, TrialState.PRUNED),
        (TrialStatus.FAILED, TrialState.FAIL),
        (TrialStatus.METRICS_UNAVAILABLE, TrialState.FAIL),
        (TrialStatus.KILLED, TrialState.FAIL),
    ],
)
def test_optuna_is_told_of_each_status_in_its_own_words(status, state):
    parameters = space("x=DOUBLE[0,1]")
    made = frozen(parameters, PastTrial(1, {"x": "0.5"}, status, 2.0, {1: 3.0, 2: 2.0}))
    assert made.state is state
    assert made.value == (2.0 if state is TrialState.COMPLETE else None)
    assert made.user_attrs[STATUS] == status
    assert made.intermediate_values == {1: 3.0, 2: 2.0}
    live = search(Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, "x=DOUBLE[0,1]")
    live.tell(PastTrial(1, live.suggest(1), status, 2.0, {1: 3.0, 2: 2.0}))
    told = live._study.get_trials()[0]
    assert told.state is state
    assert told.intermediate_values == ({2: 2.0} if state is TrialState.PRUNED else {})


def test_an_early_stopped_trial_without_reports_has_its_value_for_one_and_none_without():
    parameters = space("x=DOUBLE[0,1]")
    for value, curve in ((2.0, {1: 2.0}), (None, {}), (math.nan, {})):
        made = frozen(parameters, PastTrial(1, {"x": "0.5"}, TrialStatus.EARLY_STOPPED, value))
        assert (made.state, made.intermediate_values) == (TrialState.PRUNED, curve)


@pytest.mark.req("TUN-13")
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_a_value_to_learn_from(value):
    made = search(Strategy.BAYESIAN_OPTIMIZATION, Sampler.TPE, "x=DOUBLE[0,1]")
    for number in range(1, 15):
        made.tell(PastTrial(number, made.suggest(number), SUCCEEDED, value))
    assert frozen(space("x=DOUBLE[0,1]"), PastTrial(1, {"x": "0.5"}, SUCCEEDED, value)).state is TrialState.FAIL


def test_optuna_says_nothing_and_is_left_as_it_was(capfd):
    level = optuna.logging.get_verbosity()
    logger = sys.modules["logging"].getLogger("optuna.storages._in_memory")
    own = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for strategy, sampler in (case.values for case in KINDS):
            past = run(search(strategy, sampler), range(1, 13))
            study_with(ObjectiveType.MINIMIZE, space(), past)
    assert capfd.readouterr() == ("", "")
    assert (optuna.logging.get_verbosity(), logger.level) == (level, own)


@pytest.mark.req("TUN-02")
@pytest.mark.parametrize(
    "text",
    [
        "x=DOUBLE[0,1e15,step=1e-64]",
        "x=DOUBLE[0.12345678901234567890123,1,step=0.3]",
        "x=DOUBLE[0,1,step=0.12345678901234567890123]",
        "x=DOUBLE[-1e15,1e15,step=1e-9]",
        "x=DOUBLE[1e-64,1e15,log]",
        "x=DOUBLE[1e-64,1e-63]",
        "x=DOUBLE[0,0.7,step=0.2]",
        "x=DOUBLE[0.1,0.1]",
        "x=DOUBLE[0.12345678901234567890,0.12345678901234567891]",
        "x=INT[-1000000000000000,1000000000000000]",
        "x=INT[1,1000000000000000,log]",
        "x=INT[0,1000000000000000,step=7]",
        "x=INT[1,1000000000000000,log,step=3]",
        "x=DOUBLE[1,2,log,step=1.0000000000000000000001]",
    ],
)
def test_ranges_at_the_edge_of_what_numbers_can_be_are_searched_like_others(text):
    (one,) = space(text)
    for strategy in (Strategy.RANDOM, Strategy.BAYESIAN_OPTIMIZATION):
        made = search(strategy, Sampler.TPE, text)
        for number in range(1, 13):
            point = made.suggest(number)
            assert one.holds(point["x"])
            assert text_of(one, value_of(one, point["x"])) == point["x"] or len(point["x"]) > 17
            made.tell(PastTrial(number, point, SUCCEEDED, float(number)))


NUMBERS = st.decimals(-1000, 1000, places=4)


@given(
    NUMBERS, st.decimals(0, 1000, places=4), st.one_of(st.none(), st.decimals("0.0001", 500, places=4)), st.floats(0, 1)
)
def test_every_value_between_the_ends_becomes_a_text_of_the_space_and_back(low, width, step, part):
    one = ParameterSpec(name="x", min=low, max=low + width, step=step)
    made = distribution(one)
    text = text_of(one, made.low + part * (made.high - made.low))
    assert one.holds(text)
    assert text_of(one, value_of(one, text)) == text
    assert frozen([one], PastTrial(1, {"x": text}, SUCCEEDED, 1.0)).distributions == {"x": made}


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 10**6))
def test_any_random_state_and_number_will_do(state, number):
    assert search(Strategy.RANDOM, state=state).suggest(number) == search(Strategy.RANDOM, state=state).suggest(number)


def test_a_suggestion_by_chance_costs_the_same_after_thousands_of_trials():
    def cost(made, numbers):
        began = time.thread_time()
        run(made, numbers)
        return time.thread_time() - began

    made = search(Strategy.RANDOM, Sampler.TPE, "x=DOUBLE[0,1]", "y=DOUBLE[0,1]")
    run(made, range(1, 10))
    early = cost(made, range(10, 210))
    for number in range(210, 5000):
        made.tell(PastTrial(number, {"x": "0.5", "y": str(number / 10**5)}, SUCCEEDED, 1.0))
    assert cost(made, range(5000, 5200)) < 2 * early + 0.05


@pytest.mark.req("TUN-02", "TUN-08")
def test_a_grid_search_gives_each_point_once_whatever_it_is_told():
    parameters = space("a=INT[1,2]", "b=DOUBLE[0.1,0.3,0.1]")
    made = GridSearch(parameters)
    points = [made.suggest(number) for number in range(1, 7)]
    made.tell(ended(1, points[0]))
    assert [tuple(point.values()) for point in points] == list(itertools.product("12", ("0.1", "0.2", "0.3")))
    assert made.suggest(7) is None
    assert GridSearch(parameters).suggest(6) == points[5]


def test_a_point_of_a_huge_grid_is_found_at_once():
    made = GridSearch(space(*(f"p{n}=INT[1,1000000000000000]" for n in range(50))))
    began = time.thread_time()
    for number in range(1, 201):
        assert made.suggest(number)["p49"] == str(number)
    assert time.thread_time() - began < 2


def test_a_search_is_opened_by_the_settings_of_its_tuning():
    base = {
        "name": "digits",
        "algorithm": "s3://bucket/code",
        "entry_point": "train.py",
        "parameters": ["lr=DOUBLE[0,1,0.5]"],
        "objective_metric": "loss",
    }
    for strategy in Strategy:
        made = open_search(TuningSpec.model_validate(base | {"strategy": strategy}), 7)
        assert isinstance(made, GridSearch if strategy is Strategy.GRID else SampledSearch)
        assert made.suggest(1)["lr"] in ("0", "0.5", "1")
